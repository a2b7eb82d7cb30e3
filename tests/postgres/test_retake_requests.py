"""The use cases of retake requests: each is one transaction with its audit event."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tests.support.clinic import Clinic
from triage.domain.ids import LeaseToken, RetakeRequestId, new_id
from triage.domain.messages import RetakeRequest
from triage.domain.states import Outcome, RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.retakes import requests
from triage.retakes.override import override

MINUTE = timedelta(minutes=1)


@pytest.fixture
def flagged(clinic: Clinic) -> Clinic:
    """A clinic with one flagged request, of message `m`."""
    clinic.send("m", "a/0.1")
    clinic.drain()
    return clinic


def _events(clinic: Clinic) -> Sequence[tuple[str, str]]:
    """(actor, action) of each audit event about retake requests, oldest first."""
    rows = clinic.query("SELECT actor, action FROM audit_event WHERE subject_kind = 'retake' ORDER BY position")
    return [(row.actor, row.action) for row in rows]


def _claim(clinic: Clinic) -> tuple[RetakeRequest, LeaseToken]:
    [request] = requests.claim(clinic.sessions, limit=10, lease=MINUTE, by="ehr")
    assert request.token is not None
    return request, request.token


def test_claim_and_acknowledgement_are_recorded_in_the_audit_trail(flagged: Clinic) -> None:
    request, token = _claim(flagged)
    sent = requests.acknowledge(flagged.sessions, request.id, token, by="ehr")

    assert (sent.id, sent.status) == (request.id, RetakeStatus.SENT)
    assert _events(flagged) == [("ehr", "retake.claimed"), ("ehr", "retake.acked")]
    assert [r.status for r in requests.list_requests(flagged.sessions, limit=5)] == [RetakeStatus.SENT]
    assert requests.list_requests(flagged.sessions, status=RetakeStatus.FLAGGED, limit=5) == []


def test_claim_is_rejected_when_the_actor_is_malformed(flagged: Clinic) -> None:
    with pytest.raises(UsageError, match="invalid actor id"):
        requests.claim(flagged.sessions, limit=10, lease=MINUTE, by="Erika Mustermann")

    assert flagged.requests() == [("m", "flagged")]


@pytest.mark.parametrize("is_known", [True, False])
def test_acknowledgement_is_rejected_and_not_recorded_when_the_token_is_wrong(flagged: Clinic, is_known: bool) -> None:
    request, token = _claim(flagged)
    wrong = (request.id, LeaseToken(new_id())) if is_known else (RetakeRequestId(new_id()), token)

    with pytest.raises(LeaseLostError, match="do not send it"):
        requests.acknowledge(flagged.sessions, *wrong, by="ehr")

    assert _events(flagged) == [("ehr", "retake.claimed")]


def test_withdrawal_is_recorded_and_ends_the_request(flagged: Clinic) -> None:
    [request] = requests.list_requests(flagged.sessions, limit=5)
    withdrawn = requests.withdraw(flagged.sessions, request.id, by="nurse-1")

    assert (withdrawn.id, withdrawn.status) == (request.id, RetakeStatus.WITHDRAWN)
    assert flagged.requests() == [("m", "withdrawn")]
    assert _events(flagged) == [("nurse-1", "retake.withdrawn")]


def test_withdrawal_is_rejected_when_a_sender_holds_the_request_or_has_sent_it(flagged: Clinic) -> None:
    request, token = _claim(flagged)
    with pytest.raises(UsageError, match="it is claimed"):
        requests.withdraw(flagged.sessions, request.id, by="nurse-1")
    requests.acknowledge(flagged.sessions, request.id, token, by="ehr")
    with pytest.raises(UsageError, match="it is sent"):
        requests.withdraw(flagged.sessions, request.id, by="nurse-1")


def test_withdrawal_is_rejected_when_no_request_has_the_id(flagged: Clinic) -> None:
    with pytest.raises(UsageError, match="no retake request has this id"):
        requests.withdraw(flagged.sessions, RetakeRequestId(new_id()), by="nurse-1")


def test_withdrawal_of_an_old_request_leaves_the_new_one_of_its_message(flagged: Clinic) -> None:
    [old] = requests.list_requests(flagged.sessions, limit=5)
    requests.withdraw(flagged.sessions, old.id, by="nurse-1")
    override(flagged.sessions, "m", Outcome.RETAKE, by="nurse-1", reason="another angle", policy=flagged.policy)

    with pytest.raises(UsageError, match="it is withdrawn"):
        requests.withdraw(flagged.sessions, old.id, by="nurse-1")

    assert flagged.requests() == [("m", "withdrawn"), ("m", "flagged")]
