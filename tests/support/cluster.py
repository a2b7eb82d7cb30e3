"""Real Postgres and Redis for the whole run, a fresh migrated database for each test that asks for one."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from triage.storage.database import Sessions, create_database_engine, create_sessions
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.stack import migrate_database
from worker.state_folder import EmbeddedState

_TEMPLATE = "migrated_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedState]:
    """The state folder of a running Postgres and Redis."""
    folder = Path(tempfile.mkdtemp(prefix="triage-tests-", dir="/var/tmp"))  # root's Postgres can enter it
    folder.chmod(0o711)
    state = EmbeddedState(folder / "state")
    postgres, redis = EmbeddedPostgres(state), EmbeddedRedis(state)
    try:
        postgres.start()
        redis.start()
        postgres.ensure_database(_TEMPLATE)
        migrate_database(state, _TEMPLATE)
        yield state
    finally:
        redis.stop()
        postgres.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture
def database(embedded: EmbeddedState) -> Iterator[str]:
    """The name of a database of this test's own, with all tables."""
    name = f"test_{next(_numbers)}"
    postgres = EmbeddedPostgres(embedded)
    postgres.ensure_database(name, template=_TEMPLATE)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def database_url(embedded: EmbeddedState, database: str) -> str:
    """This test's database, for the superuser: tests look at anything and set anything up."""
    return embedded.database_url(database)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def empty_engine(embedded: EmbeddedState) -> Iterator[Engine]:
    """A database without tables."""
    postgres = EmbeddedPostgres(embedded)
    postgres.ensure_database("empty")
    engine = create_database_engine(embedded.database_url("empty"))
    yield engine
    engine.dispose()
    postgres.drop_database("empty")


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return create_sessions(engine)
