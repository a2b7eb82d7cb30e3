"""Purging photos after the retention time and forgetting messages, also under interruptions and concurrency."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from tests.support.command_line import Result
from triage.blobs.store import BlobStore
from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.errors import ServiceUnavailableError, UsageError
from triage.files.hashing import sha256_of
from triage.retention.purge import Purged, Retention
from triage.storage import audit, messages, verdicts
from worker.app import create_app
from worker.settings import load_settings
from worker.tasks.base import WorkerServices
from worker.tasks.retention import purge as nightly_purge

PATIENT = "Erika-Mustermann"
KEEP = timedelta(days=30)


class Clinic:
    """Submits messages, finishes photos and ages rows without workers."""

    def __init__(self, services: WorkerServices, engine: Engine) -> None:
        self.services = services
        self._engine = engine
        self.retention = Retention(services.sessions, services.blobs, keep=KEEP)

    def send(self, message: str, *photos: bytes, **sender: Any) -> MessageId:
        attachments = [IncomingAttachment(data=photo, group=sender.pop("group", None)) for photo in photos]
        return self.services.intake.enqueue([IncomingMessage("ehr", message, attachments, **sender)])[0].id

    def finish(self) -> None:
        """Finishes every photo as unreadable, as a worker would."""
        self.execute(
            "UPDATE attachment SET status = 'not_assessable', error_code = 'corrupt', finished_at = now() "
            "WHERE status = 'pending'"
        )

    def grow_older(self, days: float = 31) -> None:
        for table in ("attachment", "blob"):
            self.execute(f"UPDATE {table} SET created_at = created_at - make_interval(secs => {days * 86400})")

    def execute(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement))

    def query(self, statement: str) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement)).all())

    def has(self, photo: bytes) -> bool:
        return sha256_of(photo) in self.services.blobs.names(sha256_of(photo)[:2])


@pytest.fixture
def clinic(services: WorkerServices, engine: Engine) -> Clinic:
    return Clinic(services, engine)


def test_bytes_of_a_photo_are_deleted_and_its_rows_kept_when_the_retention_time_is_over(
    clinic: Clinic, jpeg: Callable[..., bytes]
) -> None:
    old, fresh = jpeg(1), jpeg(2)
    clinic.send("m-1", old)
    clinic.finish()
    clinic.grow_older()
    clinic.send("m-2", fresh)
    clinic.finish()

    assert clinic.retention.count_due() == (1, len(old))
    assert clinic.retention.purge(actor="op-1") == Purged(photos=1, bytes=len(old))
    assert clinic.retention.purge(actor="op-1") == Purged()

    assert (clinic.has(old), clinic.has(fresh)) == (False, True)
    assert clinic.query("SELECT count(sha256) FROM attachment") == [(2,)]
    assert clinic.query("SELECT count(purged_at), count(*) FROM blob") == [(1, 2)]
    assert clinic.query("SELECT actor, action, details->>'photos' FROM audit_event") == [("op-1", "photos.purged", "1")]


def test_nothing_is_purged_when_no_retention_time_is_set(clinic: Clinic, jpeg: Callable[..., bytes]) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older(10_000)

    assert clinic.services.settings.keep_photos is None
    assert clinic.services.retention.purge(actor="op-1") == Purged()


def test_photo_is_kept_when_it_is_not_scored_yet(clinic: Clinic, jpeg: Callable[..., bytes]) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.grow_older()
    assert clinic.retention.purge(actor="op-1") == Purged()

    clinic.execute(f"UPDATE blob SET purge_after = now() - interval '1 day' WHERE sha256 = '{sha256_of(jpeg(1))}'")
    assert clinic.retention.remove(actor="op-1") == Purged()  # even if it is marked
    assert clinic.has(jpeg(1))


def test_shared_photo_is_purged_when_its_last_message_is_old(clinic: Clinic, jpeg: Callable[..., bytes]) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()
    clinic.send("m-2", jpeg(1))
    clinic.finish()

    assert clinic.retention.purge(actor="op-1") == Purged()
    clinic.grow_older()
    assert clinic.retention.purge(actor="op-1").photos == 1


def test_nothing_is_lost_or_counted_twice_when_a_purge_is_killed(
    clinic: Clinic, environment: Callable[[str, str], None], jpeg: Callable[..., bytes], engine: Engine
) -> None:
    """A separate process is killed by SIGKILL when bytes are deleted but no row records it yet."""
    photos = [jpeg(1) + number.to_bytes(2, "big") for number in range(150)]
    for start in range(0, len(photos), 15):
        clinic.send(f"m-{start}", *photos[start : start + 15])
    clinic.finish()
    clinic.grow_older()
    folder = Path(clinic.services.settings.blobs_url)

    def n_left() -> int:
        return sum(1 for path in folder.rglob("*/*") if path.is_file())

    command = [str(Path(sys.executable).with_name("triage")), "purge", "--days", "30"]
    waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with engine.connect() as connection:
        connection.execute(text("SELECT FROM audit_head FOR UPDATE"))  # the transaction of the purge waits here
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as purge:
            while purge.poll() is None and not clinic.query(waits):
                time.sleep(0.05)
            purge.kill()
    assert purge.returncode == -signal.SIGKILL
    assert n_left() < len(photos)
    assert clinic.query("SELECT count(purged_at) FROM blob") == [(0,)]

    clinic.retention.purge(actor="op-1")

    assert n_left() == 0
    assert clinic.query("SELECT count(*), count(purged_at) FROM blob") == [(150, 150)]
    assert clinic.query("SELECT sum((details->>'photos')::int) FROM audit_event") == [(150,)]


def test_nightly_purge_enqueues_another_purge_when_its_time_limit_is_reached(
    clinic: Clinic,
    environment: Callable[[str, str], None],
    jpeg: Callable[..., bytes],
) -> None:
    def run_task(*, sweep_seconds: str) -> None:
        environment("INBOX__SWEEP_SECONDS", sweep_seconds)
        create_app(load_settings()).set_current()  # as in a worker
        nightly_purge()

    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()
    environment("RETENTION__PHOTO_DAYS", "30")
    redis, queue = clinic.services.redis, f"{clinic.services.settings.redis.key_prefix}maintenance"

    run_task(sweep_seconds="0.000001")
    assert clinic.has(jpeg(1))
    assert redis.llen(queue) == 1

    run_task(sweep_seconds="5")
    assert not clinic.has(jpeg(1))
    assert redis.llen(queue) == 1


def test_purge_continues_after_an_interrupted_purge(
    clinic: Clinic, jpeg: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [jpeg(seed) for seed in range(5)]
    clinic.send("m-1", *photos)
    clinic.finish()
    clinic.grow_older()
    removed: list[str] = []

    class Dying(BlobStore):
        def remove(self, name: str) -> None:
            super().remove(name)
            removed.append(name)
            if len(removed) == 3:
                raise ServiceUnavailableError("cut off")

    dying = Retention(clinic.services.sessions, Dying(clinic.services.settings.blobs_url), keep=KEEP)
    with pytest.raises(ServiceUnavailableError):
        dying.purge(actor="op-1")
    assert clinic.query("SELECT count(purge_after), count(purged_at) FROM blob") == [(5, 0)]
    kept = next(photo for photo in photos if sha256_of(photo) in removed)
    clinic.send("m-2", kept)  # its bytes are deleted but its row does not record it yet

    assert clinic.has(kept)
    assert clinic.retention.purge(actor="op-1").photos == 4
    assert [clinic.has(photo) for photo in photos].count(True) == 1
    with clinic.services.sessions() as session:
        assert audit.verify(session).flaws == []


def test_photo_is_stored_again_when_it_is_resubmitted_after_its_purge(
    clinic: Clinic, jpeg: Callable[..., bytes]
) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()
    assert clinic.retention.purge(actor="op-1").photos == 1

    clinic.send("m-2", jpeg(1))

    assert clinic.has(jpeg(1))
    assert clinic.query("SELECT purge_after, purged_at FROM blob") == [(None, None)]
    assert clinic.retention.purge(actor="op-1") == Purged()


def test_photo_is_stored_again_when_a_purge_deletes_it_during_intake(
    clinic: Clinic, jpeg: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()
    add_threads = messages.add_threads

    def purge_first(*arguments: Any) -> Any:  # after intake has found the bytes in the store, before it inserts rows
        assert clinic.retention.purge(actor="op-1").photos == 1
        return add_threads(*arguments)

    monkeypatch.setattr(messages, "add_threads", purge_first)
    clinic.send("m-2", jpeg(1))

    assert clinic.has(jpeg(1))
    assert clinic.query("SELECT purge_after, purged_at FROM blob") == [(None, None)]


def test_orphaned_files_are_deleted_after_a_day_and_models_are_kept(clinic: Clinic, jpeg: Callable[..., bytes]) -> None:
    clinic.services.photo_store.set_up()
    store = clinic.services.blobs
    stray, recent, weights = (store.put(name) for name in (b"stray", b"recent", b"weights"))
    clinic.execute(
        "INSERT INTO model_version (id, name, version, weights_sha256, card, stage) "
        f"VALUES (gen_random_uuid(), 'm', 1, '{weights}', '{{}}', 'retired')"
    )
    root = Path(clinic.services.settings.blobs_url)
    part = root / stray[:2] / f"{stray}.{'0' * 32}.part"
    part.write_bytes(b"half a photo")
    for path in (root / stray[:2] / stray, root / weights[:2] / weights, part):
        os.utime(path, (0, 0))

    purged = clinic.services.retention.purge(actor="op-1")

    assert (purged.photos, purged.strays) == (1, 2)
    assert sorted(path.name for path in root.rglob("*/*") if path.is_file()) == sorted([recent, weights])


def test_purge_is_unfinished_when_its_time_limit_is_reached(clinic: Clinic, jpeg: Callable[..., bytes]) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()

    assert clinic.retention.purge(actor="op-1", seconds=0).unfinished
    assert clinic.retention.purge(actor="op-1").photos == 1


def test_rescoring_skips_purged_photos(
    clinic: Clinic, triage: Callable[..., Result], model_folder: Path, jpeg: Callable[..., bytes]
) -> None:
    triage("models", "add", model_folder)
    clinic.send("m-1", jpeg(1))
    clinic.send("m-2", jpeg(2))
    clinic.execute("UPDATE attachment SET status = 'scored', finished_at = now()")
    model = clinic.query("SELECT id FROM model_version")[0].id
    clinic.execute(f"UPDATE blob SET purge_after = now(), purged_at = now() WHERE sha256 = '{sha256_of(jpeg(1))}'")

    with clinic.services.sessions() as session:
        left = verdicts.without_verdict(
            session, model, after=UUID(int=0), since=None, until=datetime.now(UTC), limit=9
        ).attachments
        assert verdicts.count_without(session, model, since=None) == 1
    assert [attachment.sha256 for attachment in left] == [sha256_of(jpeg(2))]


def test_message_is_forgotten_and_counts_and_audit_trail_are_kept(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes], model_folder: Path, engine: Engine
) -> None:
    assert triage("models", "add", model_folder).code == 0
    assert triage("models", "promote", "strict").code == 0
    message = str(clinic.send(PATIENT, jpeg(1), thread=PATIENT, group=PATIENT))
    clinic.execute(f"UPDATE message SET locale = 'x-{PATIENT}'")
    clinic.execute(f"UPDATE attachment SET declared_type = '{PATIENT}'")
    clinic.services.scoring.drain()
    override = ("override", PATIENT, "--decision", "retake", "--by", "n-1", "--reason", f"{PATIENT} asked")
    assert triage(*override).code == 0
    before = triage("report", "--format", "json").json

    done = triage("forget", PATIENT, "--by", "op-1", "--reason", "request-17", "--json")

    assert done.json == {
        "id": message,
        "photos": 1,
        "photos_removed": 1,
        "photos_shared": 0,
        "requests_withdrawn": 1,
    }
    assert not clinic.has(jpeg(1))
    after = triage("report", "--format", "json").json
    for key in ("messages", "photos", "errors", "overrides", "scores"):
        assert after[key] == before[key]
    assert after["retention"] == {"photos_purged": 1, "messages_forgotten": 1}
    story = triage("explain", message, "--json").json
    assert story["message_id"] == f"forgotten:{message}"
    assert [decision["note"] for decision in story["decisions"]] == [None, None]
    assert [event["action"] for event in story["audit"]] == ["message.overridden", "message.forgotten"]
    assert triage("audit", "verify").code == 0
    with engine.connect() as connection:
        for table in connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).all():
            assert not connection.scalar(text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{PATIENT}%'")), (
                table
            )
            if table != "blob":  # the next purge deletes the hash itself
                hashed = f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{sha256_of(jpeg(1))}%'"
                assert not connection.scalar(text(hashed)), table
    clinic.execute("UPDATE blob SET purged_at = now() - interval '2 days'")
    clinic.services.retention.purge(actor="beat")
    assert clinic.query("SELECT * FROM blob") == []


def test_forgotten_message_is_decided_and_its_late_result_rejected_when_it_was_in_progress(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    clinic.send("m-1", jpeg(1), jpeg(2))
    claim = clinic.services.inbox.claim(1, retry=False)
    assert claim is not None

    assert triage("forget", "m-1", "--by", "op-1", "--reason", "r-1", "--json").json["photos_removed"] == 2

    assert clinic.services.inbox.release(claim) == 0
    assert clinic.query("SELECT status, error_code FROM attachment") == [("not_assessable", "forgotten")] * 2
    assert clinic.query("SELECT outcome FROM decision") == [("not_assessable",)]
    report = triage("report", "--format", "json").json
    assert (report["messages"]["pending"], report["oldest_pending_seconds"]) == (0, None)


def test_photo_of_a_forgotten_message_is_kept_when_another_message_has_it(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.send("m-2", jpeg(1))

    first = triage("forget", "m-1", "--by", "op-1", "--reason", "r-1", "--json").json
    assert (first["photos_removed"], first["photos_shared"], clinic.has(jpeg(1))) == (0, 1, True)
    second = triage("forget", "m-2", "--by", "op-1", "--reason", "r-1", "--json").json
    assert (second["photos_removed"], clinic.has(jpeg(1))) == (1, False)


def test_thread_is_forgotten_with_its_last_message(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    clinic.send("m-1", jpeg(1), thread=PATIENT)
    clinic.send("m-2", jpeg(2), thread=PATIENT)
    triage("forget", "m-1", "--by", "op-1", "--reason", "r-1")
    assert clinic.query("SELECT external_id FROM thread") == [(PATIENT,)]
    triage("forget", "m-2", "--by", "op-1", "--reason", "r-1")
    [(name,)] = clinic.query("SELECT external_id FROM thread")
    assert name.startswith("forgotten:")


@pytest.mark.parametrize("reason", ["asked for by Erika M.", "x" * 65])
def test_forgetting_is_refused_when_the_reason_could_be_free_text(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes], reason: str
) -> None:
    clinic.send("m-1", jpeg(1))

    refused = triage("forget", "m-1", "--by", "op-1", "--reason", reason)

    assert refused.code == 2
    assert "invalid reason" in refused.complaint()
    assert clinic.has(jpeg(1))


def test_forgetting_is_refused_when_the_message_is_already_forgotten(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    message = str(clinic.send("m-1", jpeg(1)))
    assert triage("forget", "m-1", "--by", "op-1", "--reason", "r-1").code == 0

    assert triage("forget", message, "--by", "op-1", "--reason", "r-1").code == 2
    assert triage("forget", "m-1", "--by", "op-1", "--reason", "r-1").code == 2
    assert clinic.query("SELECT count(*) FROM audit_event WHERE action = 'message.forgotten'") == [(1,)]


@pytest.mark.parametrize("outcome", ["pass", "retake"])
def test_forgotten_message_is_not_decided_by_a_person(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes], outcome: str
) -> None:
    """No request is flagged for it, and no text about the patient is stored again."""
    message = str(clinic.send("m-1", jpeg(1)))
    clinic.finish()
    assert triage("forget", "m-1", "--by", "op-1", "--reason", "r-1").code == 0

    result = triage("override", message, "--decision", outcome, "--by", "op-1", "--reason", PATIENT)

    assert result.code == 2
    assert "the message is forgotten" in result.complaint()
    assert clinic.query("SELECT count(*) FROM retake_request") == [(0,)]
    assert clinic.query("SELECT count(*) FROM decision WHERE note IS NOT NULL") == [(0,)]


def test_message_cannot_take_the_id_of_a_forgotten_one(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    message = str(clinic.send("m-1", jpeg(1)))
    assert triage("forget", "m-1", "--by", "op-1", "--reason", "r-1").code == 0

    with pytest.raises(UsageError, match="invalid message id: ids that start with `forgotten:`"):
        clinic.send(f"forgotten:{message}", jpeg(2))
    with pytest.raises(UsageError, match="invalid thread id: ids that start with `forgotten:`"):
        clinic.send("m-2", jpeg(2), thread=f"forgotten:{message}")

    assert clinic.query("SELECT count(*) FROM attachment") == [(1,)]


def test_purge_command_counts_with_dry_run_and_then_deletes(
    clinic: Clinic, triage: Callable[..., Result], jpeg: Callable[..., bytes]
) -> None:
    clinic.send("m-1", jpeg(1))
    clinic.finish()
    clinic.grow_older()
    command = ("purge", "--days", "30", "--json")
    expected = {"days": 30.0, "photos": 1, "bytes": len(jpeg(1)), "strays": 0}

    assert triage(*command, "--dry-run").json == expected | {"dry_run": True}
    assert clinic.has(jpeg(1))
    assert triage(*command).json == expected | {"dry_run": False}
    assert not clinic.has(jpeg(1))
    assert triage("purge", "--days", "0").code == 2
    report = triage("report", "--since", "2020-01-01", "--format", "json").json
    assert report["retention"]["photos_purged"] == 1
    [attachment] = triage("explain", "m-1", "--json").json["attachments"]
    assert attachment["purged_at"]
    assert attachment["sha256"] == sha256_of(jpeg(1))
