"""References to the system that a message was read from: kept for answers, and gone with the message's photos."""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.clinic import Clinic
from triage.blobs.store import BlobStore
from triage.domain.ids import MessageId
from triage.domain.messages import IncomingAttachment, IncomingMessage, Origin
from triage.errors import UsageError
from triage.retention.archive import archive_threads
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.storage import origins

ORIGIN = Origin(subject="Patient/7", author="RelatedPerson/8", encounter="Encounter/9")


def _send(clinic: Clinic, message: str, origin: Origin | None = ORIGIN) -> MessageId:
    photo = IncomingAttachment(uri="file:///in/0.9", external_id="1")
    return clinic.intake.enqueue([IncomingMessage("ehr", message, [photo], origin=origin)])[0].id


def _stored(clinic: Clinic, *messages: MessageId) -> dict[MessageId, Origin]:
    with clinic.sessions() as session:
        return origins.load(session, messages)


def test_first_origin_of_a_message_is_kept(clinic: Clinic) -> None:
    message, other = _send(clinic, "m-1"), _send(clinic, "m-2", None)
    _send(clinic, "m-1", Origin(subject="Patient/elsewhere"))

    assert _stored(clinic, message, other) == {message: ORIGIN}


@pytest.mark.parametrize("reference", ["", "Patient/\n7", "x" * 201])
def test_message_is_refused_when_a_reference_is_malformed(clinic: Clinic, reference: str) -> None:
    with pytest.raises(UsageError, match="invalid reference"):
        _send(clinic, "m-1", Origin(subject=reference))


def test_origin_is_deleted_when_its_message_is_forgotten(clinic: Clinic, tmp_path: Path) -> None:
    forgotten, other = _send(clinic, "m-1"), _send(clinic, "m-2")
    retention = Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=None)

    forget(clinic.sessions, retention, "m-1", by="op-1", reason="request-1", policy=clinic.policy)

    assert _stored(clinic, forgotten, other) == {other: ORIGIN}


def test_origin_is_deleted_when_the_retention_time_is_over(clinic: Clinic, tmp_path: Path) -> None:
    old, fresh = _send(clinic, "m-1"), _send(clinic, "m-2")
    clinic.execute(f"UPDATE origin SET created_at = created_at - interval '31 days' WHERE message_id = '{old}'")

    for keep in (None, timedelta(days=30)):
        assert old in _stored(clinic, old, fresh)
        Retention(clinic.sessions, BlobStore(str(tmp_path)), keep=keep).purge(actor="op-1")

    assert _stored(clinic, old, fresh) == {fresh: ORIGIN}


def test_origin_is_not_archived(clinic: Clinic, tmp_path: Path) -> None:
    message = _send(clinic, "m-1")
    clinic.drain()

    list(archive_threads(clinic.sessions, tmp_path, before=datetime.now(UTC) + timedelta(hours=1), actor="op-1"))

    assert _stored(clinic, message) == {}
    [file] = tmp_path.rglob("*.gz")
    assert b"m-1" in gzip.decompress(file.read_bytes())
    assert b"Patient" not in gzip.decompress(file.read_bytes())
