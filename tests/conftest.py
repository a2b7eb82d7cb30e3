"""Real Postgres and Redis for the whole run, a fresh migrated database for each test that asks for one."""

import io
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import Engine

from triage.domain.card import Card
from triage.domain.states import Stage
from triage.storage import model_versions as models
from triage.storage import roles
from triage.storage.database import Sessions, create_database_engine, create_sessions
from triage.storage.model_versions import RegisteredModel
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.stack import migrate_database
from worker.services import Services
from worker.settings import (
    BlobSettings,
    DatabaseSettings,
    InboxSettings,
    IntakeSettings,
    ModelSettings,
    RedisSettings,
    Settings,
)
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


@pytest.fixture
def settings(embedded: EmbeddedState, database: str, tmp_path: Path) -> Settings:
    """Settings of this test's own: its database, its folders, its keys in Redis. As in production, a worker's role."""
    return Settings(
        home=embedded.root,
        database=DatabaseSettings(url=SecretStr(embedded.database_url(database, role=roles.WORKER))),
        redis=RedisSettings(key_prefix=f"{tmp_path.name}:"),
        blobs=BlobSettings(url=str(tmp_path / "blobs")),
        models=ModelSettings(url=str(tmp_path / "models")),
        intake=IntakeSettings(max_bytes=2**20, uri_roots=((tmp_path / "incoming").as_uri(),)),
        inbox=InboxSettings(retry_backoff_seconds=0, sweep_seconds=1),
    )


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    with Services(settings) as services:
        yield services


@pytest.fixture
def live_model(sessions: Sessions) -> RegisteredModel:
    """A trained model's row, live, with a threshold of one half; it has no weights."""
    card = Card(
        name="fixture",
        trained=True,
        threshold=0.5,
        threshold_chosen_by="fixture",
        created_at=datetime.now(UTC),
        weights_sha256="0" * 64,
    )
    with sessions.begin() as session:
        model, _ = models.add(session, card)
        models.set_stage(session, model.id, Stage.LIVE)
        return models.find(session, model.card.weights_sha256)


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """Makes a JPEG of noise; each seed gives other bytes."""

    def make(seed: int = 0, width: int = 96, height: int = 96) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        return file.getvalue()

    return make
