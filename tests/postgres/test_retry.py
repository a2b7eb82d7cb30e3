from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.clinic import Clinic
from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode, UsageError
from triage.files.hashing import sha256_of
from triage.scoring.retry import Requeued, retry_photos

LONG_AGO = datetime.now(UTC) - timedelta(hours=1)


def _send_bytes(clinic: Clinic, *photos: bytes) -> Acceptance:
    attachments = [IncomingAttachment(data=photo, external_id=str(n)) for n, photo in enumerate(photos)]
    [acceptance] = clinic.intake.enqueue([IncomingMessage("ehr", "m-4", attachments)])
    return acceptance


def _park(clinic: Clinic, code: str, which: str) -> None:
    """Parks pending photos with a code, as a worker does that cannot read them."""
    clinic.execute(
        f"UPDATE attachment SET status = 'not_assessable', error_code = '{code}', finished_at = now() WHERE {which}"
    )


def _states(clinic: Clinic) -> dict[str, tuple[Any, ...]]:
    rows = clinic.query("SELECT external_id, status, error_code, attempts FROM attachment")
    return {row.external_id: tuple(row)[1:] for row in rows}


@pytest.fixture
def clinic(make_clinic: Callable[..., Clinic]) -> Clinic:
    """Three messages with parked photos, two of them with the same code."""
    clinic = make_clinic()
    clinic.send("m-1", "a/fails", "b/0.9")
    clinic.send("m-2", "c/fails")
    clinic.send("m-3", "d/unreadable")
    clinic.drain()
    return clinic


def test_photos_with_a_code_are_tried_again_with_all_their_attempts(clinic: Clinic) -> None:
    requeued = retry_photos(clinic.sessions, error=ErrorCode.SCORING_FAILED, since=LONG_AGO, by="op-1")

    assert requeued == Requeued(photos=2, messages=2, without_bytes=0)
    assert _states(clinic) == {
        "a/fails": ("pending", None, 0),
        "b/0.9": ("scored", None, 1),
        "c/fails": ("pending", None, 0),
        "d/unreadable": ("not_assessable", "corrupt", 1),
    }
    events = clinic.query("SELECT actor, details->>'photos' AS n FROM audit_event WHERE action = 'photos.requeued'")
    assert [tuple(event) for event in events] == [("op-1", "1")] * 2


def test_message_is_decided_again_when_its_retried_photo_is_finished(clinic: Clinic) -> None:
    assert clinic.decisions("m-2") == [("not_assessable", "no_readable_photo")]
    retry_photos(clinic.sessions, message="m-2", by="op-1")
    clinic.execute("UPDATE attachment SET uri = 'file:///in/c/0.2' WHERE external_id = 'c/fails'")

    clinic.drain()

    assert clinic.decisions("m-2") == [("not_assessable", "no_readable_photo"), ("retake", "no_photo_passed")]
    assert clinic.requests() == [("m-2", "flagged")]


def test_photos_received_before_the_time_stay_parked(clinic: Clinic) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)

    assert retry_photos(clinic.sessions, error=ErrorCode.SCORING_FAILED, since=soon, by="op-1").photos == 0


def test_verdict_stays_final_for_every_statement(clinic: Clinic) -> None:
    with pytest.raises(Exception, match="final"):
        clinic.execute("UPDATE attachment SET status = 'pending' WHERE status = 'scored'")


def test_photo_stays_parked_when_its_bytes_are_purged_or_were_never_stored(clinic: Clinic) -> None:
    _send_bytes(clinic, b"kept", b"purged", b"too large" * 1000)
    _park(clinic, "not_found", "status = 'pending'")
    clinic.execute(f"UPDATE blob SET purge_after = now() WHERE sha256 = '{sha256_of(b'purged')}'")

    requeued = retry_photos(clinic.sessions, message="m-4", by="op-1")

    assert requeued == Requeued(photos=1, messages=1, without_bytes=2)
    assert {name: state[:2] for name, state in _states(clinic).items() if len(name) == 1} == {
        "0": ("pending", None),
        "1": ("not_assessable", "not_found"),
        "2": ("not_assessable", "too_large"),
    }


@pytest.mark.parametrize(("code", "is_requeued"), [("not_found", True), ("fetch_failed", True), ("corrupt", False)])
def test_resubmission_says_that_a_photo_is_parked_and_requeues_it_when_it_could_not_be_read(
    clinic: Clinic, code: str, is_requeued: bool
) -> None:
    _send_bytes(clinic, b"photo")
    _park(clinic, code, "external_id = '0'")
    clinic.execute("UPDATE blob SET purge_after = now(), purged_at = now()")
    wake_ups = len(clinic.wake_ups)

    acceptance = _send_bytes(clinic, b"photo")

    [photo] = acceptance.attachments
    assert not acceptance.created
    if is_requeued:
        assert (photo.requeued, photo.status, photo.error_code) == (True, AttachmentStatus.PENDING, None)
        assert clinic.query("SELECT actor FROM audit_event WHERE action = 'photos.requeued'") == [("intake",)]
    else:
        assert (photo.requeued, photo.status, photo.error_code) == (False, AttachmentStatus.NOT_ASSESSABLE, code)
    assert _states(clinic)["0"][0] == photo.status
    assert len(clinic.wake_ups) == wake_ups + is_requeued


def test_other_photo_under_the_same_id_does_not_requeue_the_parked_one(clinic: Clinic) -> None:
    _send_bytes(clinic, b"photo")
    _park(clinic, "not_found", "external_id = '0'")

    [photo] = _send_bytes(clinic, b"another photo").attachments

    assert (photo.conflict, photo.requeued, photo.error_code) == (True, False, "not_found")


def test_all_photos_need_a_code_and_a_time(clinic: Clinic) -> None:
    for given in ({}, {"error": ErrorCode.NOT_FOUND}, {"since": LONG_AGO}):
        with pytest.raises(UsageError, match="give a message"):
            retry_photos(clinic.sessions, by="op-1", **given)
