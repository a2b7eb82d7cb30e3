from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.support.clinic import Clinic
from triage.domain.ids import LeaseToken, RetakeRequestId, new_id
from triage.domain.messages import HeldRequest, RetakeRequest
from triage.storage import outbox


@pytest.fixture
def flagged(clinic: Clinic) -> Clinic:
    """A clinic with three flagged requests."""
    for number in range(3):
        clinic.send(f"m{number}", "a/0.1")
    clinic.drain()
    return clinic


def _claim(clinic: Clinic, *, lease_seconds: float = 60, limit: int = 10) -> Sequence[RetakeRequest]:
    with clinic.sessions.begin() as session:
        return outbox.claim(session, limit=limit, lease=timedelta(seconds=lease_seconds), by="ehr")


def _ack(clinic: Clinic, request_id: RetakeRequestId, token: LeaseToken | None) -> bool:
    assert token is not None
    with clinic.sessions.begin() as session:
        return bool(outbox.acknowledge(session, [HeldRequest(request_id, token)]))


def test_request_is_claimed_by_one_sender_when_many_claim_concurrently(flagged: Clinic) -> None:
    with ThreadPoolExecutor(6) as pool:
        claimed = [request for batch in pool.map(lambda _: _claim(flagged, limit=2), range(6)) for request in batch]

    assert sorted(request.message for request in claimed) == ["m0", "m1", "m2"]


def test_claim_returns_the_data_of_a_reply(flagged: Clinic) -> None:
    [request, *_] = _claim(flagged)

    assert (request.source, request.message, request.thread, request.locale) == ("ehr", "m0", "m0", "und")
    assert request.model == "fixture"


def test_request_can_be_claimed_again_when_its_lease_expired(flagged: Clinic) -> None:
    first = _claim(flagged, lease_seconds=-1)
    again = _claim(flagged)

    assert {request.id for request in again} == {request.id for request in first}
    assert not _ack(flagged, first[0].id, first[0].token)
    assert _ack(flagged, again[0].id, again[0].token)


def test_late_acknowledgement_is_accepted_when_no_other_sender_claimed_the_request(flagged: Clinic) -> None:
    [request, *_] = _claim(flagged, lease_seconds=-1)

    assert _ack(flagged, request.id, request.token)


def test_acknowledgement_is_idempotent(flagged: Clinic) -> None:
    [request, *_] = _claim(flagged, limit=1)
    assert _ack(flagged, request.id, request.token)
    [before] = flagged.query("SELECT sent_at FROM retake_request WHERE status = 'sent'")
    assert _ack(flagged, request.id, request.token)

    assert flagged.query("SELECT sent_at FROM retake_request WHERE status = 'sent'") == [before]


def test_acknowledgement_requires_the_token(flagged: Clinic) -> None:
    [request, *_] = _claim(flagged, limit=1)

    assert not _ack(flagged, request.id, LeaseToken(new_id()))


def test_withdrawal_includes_a_request_that_a_sender_holds_and_excludes_a_sent_one(flagged: Clinic) -> None:
    [sent, held] = _claim(flagged, limit=2)
    assert _ack(flagged, sent.id, sent.token)
    with flagged.sessions.begin() as session:
        ids = [row.message_id for row in flagged.query("SELECT message_id FROM retake_request")]
        withdrawn = outbox.withdraw(session, ids, reason="test")

    assert len(withdrawn) == 2
    assert held.id in withdrawn
