"""A database that is temporarily unavailable, or has the schema of another release."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support.clinic import Clinic, scored
from tests.support.schema_versions import config_with_next, make_older
from triage.domain.photos import AssessedBatch
from triage.errors import DatabaseUnavailableError, TablesOutdatedError
from triage.scoring.drain import DrainLimits, drain
from triage.storage import migrate
from triage.storage.database import Sessions, persist
from worker.tasks.base import WorkerServices


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Gives this process one migration more than the database has."""
    config = config_with_next(tmp_path / "next")
    monkeypatch.setattr(migrate, "alembic_config", lambda engine=None: config)
    migrate._older_revisions.cache_clear()
    yield
    migrate._older_revisions.cache_clear()


def test_batch_is_recorded_when_its_connection_was_cut(clinic: Clinic) -> None:
    clinic.send("m1", "a/0.9")
    claim = clinic.inbox.claim(10, retry=False)
    assert claim is not None
    clinic.query("SELECT 1")  # opens a connection of the pool
    [attachment] = claim.attachments
    batch = AssessedBatch(clinic.assessor.model_version_id, 0.5, [scored(attachment.id, 0.9)])
    attempts: list[int] = []

    def record() -> int:
        attempts.append(1)
        with clinic.sessions.begin() as session:
            if len(attempts) == 1:
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return clinic.inbox.record(claim, batch).scored

    assert persist(record, patience_seconds=60) == 1
    assert len(attempts) == 2
    assert clinic.decisions("m1") == [("pass", "photo_passed")]


def test_error_is_raised_when_the_database_stays_unavailable(clinic: Clinic) -> None:
    def fail() -> None:
        with clinic.sessions.begin() as session:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailableError):
        persist(fail, patience_seconds=0)


def test_photos_keep_their_attempts_when_the_schema_is_older_than_the_worker(clinic: Clinic) -> None:
    clinic.send("m1", "a/0.9", "b/0.9")
    make_older(clinic.sessions.kw["bind"])

    with pytest.raises(TablesOutdatedError):
        drain(clinic.inbox, lambda: clinic.assessor, DrainLimits(photos_per_batch=4, seconds=60))

    assert clinic.query("SELECT DISTINCT status, attempts FROM attachment") == [("pending", 0)]


def test_nothing_is_claimed_when_the_schema_has_no_revision(services: WorkerServices, engine: Engine) -> None:
    make_older(engine)

    with pytest.raises(TablesOutdatedError):
        services.scoring.drain()


def test_nothing_is_claimed_when_the_worker_has_a_newer_revision_than_the_schema(
    services: WorkerServices, next_release: None
) -> None:
    assert not migrate.is_current(services.engine)

    with pytest.raises(TablesOutdatedError):
        services.scoring.drain()


def test_schema_of_a_newer_release_is_accepted(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
        migrate.check_not_behind(session)
