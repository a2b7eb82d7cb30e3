"""What a database does that is away for a moment, or has the tables of another release."""

import pytest
from sqlalchemy import Engine, text

from tests.postgres.conftest import Clinic, scored
from triage.domain.photos import AssessedBatch
from triage.errors import DatabaseUnavailableError, TablesOutdatedError
from triage.scoring.drain import DrainLimits, drain
from triage.storage import migrate
from triage.storage.database import Sessions, persist
from worker.services import Services


def test_batch_is_recorded_when_its_connection_was_cut(clinic: Clinic) -> None:
    clinic.send("m1", "a/0.9")
    claim = clinic.inbox.claim(10, retry=False)
    assert claim is not None
    clinic.query("SELECT 1")  # the pool has a connection, which is cut now, and does not know it
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


def test_database_that_stays_away_is_told(clinic: Clinic) -> None:
    def fail() -> None:
        with clinic.sessions.begin() as session:
            session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseUnavailableError):
        persist(fail, patience_seconds=0)


def test_photos_keep_their_attempts_when_the_tables_are_older_than_the_worker(clinic: Clinic) -> None:
    clinic.send("m1", "a/0.9", "b/0.9")
    migrate.downgrade(clinic.sessions.kw["bind"], "0001")

    with pytest.raises(TablesOutdatedError):
        drain(clinic.inbox, lambda: clinic.assessor, DrainLimits(photos_per_batch=4, seconds=60))

    assert clinic.query("SELECT DISTINCT status, attempts FROM attachment") == [("pending", 0)]


def test_nothing_is_claimed_when_the_tables_are_older_than_the_worker(services: Services, engine: Engine) -> None:
    migrate.downgrade(engine, "0001")

    with pytest.raises(TablesOutdatedError):
        services.scoring.drain()


def test_tables_of_a_newer_release_will_do(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'newer'"))
        migrate.check_not_behind(session)
