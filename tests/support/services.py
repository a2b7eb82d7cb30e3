"""The product's settings and services over this test's database, with a live model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.cards import make_card
from triage.domain.card import RegisteredModel
from triage.domain.states import Stage
from triage.storage import model_versions as models
from triage.storage.database import Sessions
from triage.storage.role_names import WORKER
from worker.settings import (
    BlobSettings,
    DatabaseSettings,
    InboxSettings,
    IntakeSettings,
    ModelSettings,
    RedisSettings,
    Settings,
)
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices


def make_settings(state: StateFolder, database: str, folder: Path) -> Settings:
    """Settings as in production, with a worker's database role.

    Args:
        state: of the running Postgres and Redis.
        database: its name.
        folder: of blobs, models and incoming photos; its name is the prefix of the keys in Redis.
    """
    return Settings(
        home=state.root,
        database=DatabaseSettings(url=SecretStr(state.database_url(database, role=WORKER))),
        redis=RedisSettings(key_prefix=f"{folder.name}:"),
        blobs=BlobSettings(url=str(folder / "blobs")),
        models=ModelSettings(url=str(folder / "models")),
        intake=IntakeSettings(max_bytes=2**20, uri_roots=((folder / "incoming").as_uri(),)),
        inbox=InboxSettings(retry_backoff_seconds=0, sweep_seconds=1),
    )


@pytest.fixture
def settings(embedded: StateFolder, database: str, tmp_path: Path) -> Settings:
    """Settings that no other test uses: database, folders and prefix in Redis."""
    return make_settings(embedded, database, tmp_path)


@pytest.fixture
def services(settings: Settings) -> Iterator[WorkerServices]:
    with WorkerServices(settings) as services:
        yield services


@pytest.fixture
def live_model(sessions: Sessions) -> RegisteredModel:
    """A trained model's row, live, with a threshold of one half; it has no weights."""
    with sessions.begin() as session:
        model, _ = models.add(session, make_card("fixture", weights_sha256="0" * 64))
        models.set_stage(session, model.id, Stage.LIVE)
        return models.find(session, model.card.weights_sha256)
