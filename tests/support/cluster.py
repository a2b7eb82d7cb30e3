"""A real Postgres and Redis for the test run, and a migrated database for each test that asks for one."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from sqlalchemy import Engine

from tests.support.databases import DatabasePool
from triage.storage.database import Sessions, create_database_engine, create_sessions
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.state_folder import StateFolder

_empty_numbers = itertools.count(1)


class ThrowawayPostgres(EmbeddedPostgres):
    """Postgres for a test run: it writes nothing through to the disk, since no test outlives a power failure."""

    _settings: ClassVar[Mapping[str, str]] = {
        **EmbeddedPostgres._settings,
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "autovacuum": "off",
    }
    _initdb_options: ClassVar[Sequence[str]] = (*EmbeddedPostgres._initdb_options, "--no-sync")


@pytest.fixture(scope="session")
def embedded() -> Iterator[StateFolder]:
    """The state folder of a running Postgres and Redis; each worker of pytest-xdist has its own."""
    folder = Path(tempfile.mkdtemp(prefix="triage-tests-", dir="/var/tmp"))  # the user of root's Postgres can enter it
    folder.chmod(0o711)
    state = StateFolder(folder / "state")
    postgres, redis = ThrowawayPostgres(state), EmbeddedRedis(state)
    try:
        postgres.start()
        redis.start()
        yield state
    finally:
        redis.stop()
        postgres.stop("immediate")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def database_pool(embedded: StateFolder) -> DatabasePool:
    return DatabasePool(embedded)


@pytest.fixture
def database(database_pool: DatabasePool) -> Iterator[str]:
    """The name of a migrated database that no other test uses at the same time."""
    name = database_pool.take()
    yield name
    database_pool.give_back(name)


@pytest.fixture
def database_url(embedded: StateFolder, database: str) -> str:
    """This test's database, for the superuser: tests look at anything and set anything up."""
    return embedded.database_url(database)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def empty_engine(embedded: StateFolder) -> Iterator[Engine]:
    """A database without tables."""
    name = f"empty_{next(_empty_numbers)}"
    EmbeddedPostgres(embedded).ensure_database(name)
    engine = create_database_engine(embedded.database_url(name))
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return create_sessions(engine)
