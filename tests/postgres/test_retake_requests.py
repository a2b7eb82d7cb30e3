"""The use cases of retake requests: each is one transaction with its audit event."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from tests.support.clinic import Clinic
from triage.domain.ids import LeaseToken, RetakeRequestId, new_id
from triage.domain.messages import HeldRequest, RetakeRequest
from triage.domain.reporting import Period
from triage.domain.states import Outcome, RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.reports.explain import explain
from triage.retakes import requests
from triage.retakes.override import override
from triage.storage.gauges import read_gauges
from triage.storage.report_queries import count_retake_requests

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


def test_many_acknowledgements_are_answered_one_by_one(clinic: Clinic) -> None:
    for number in range(3):
        clinic.send(f"m{number}", f"{number}/0.1")
    clinic.drain()
    claimed = requests.claim(clinic.sessions, limit=10, lease=MINUTE, by="ehr")
    sent, withdrawn, lost = (HeldRequest(each.id, each.token) for each in claimed if each.token)
    requests.withdraw(clinic.sessions, withdrawn.id, by="nurse-1")
    unknown, stale = HeldRequest(RetakeRequestId(new_id()), lost.token), HeldRequest(lost.id, LeaseToken(new_id()))

    for _ in range(2):
        answers = requests.acknowledge_all(clinic.sessions, [unknown, withdrawn, sent, sent, stale], by="ehr")
        assert answers == ["lease_lost", "withdrawn", "sent", "sent", "lease_lost"]

    assert requests.acknowledge_all(clinic.sessions, [], by="ehr") == []
    assert clinic.requests() == [("m0", "sent"), ("m1", "withdrawn"), ("m2", "claimed")]
    assert [action for _, action in _events(clinic)].count("retake.acked") == 4


def test_claim_of_a_source_leaves_the_requests_of_others(clinic: Clinic) -> None:
    for source in ("portal", "ehr", "portal"):
        clinic.send(f"m{len(clinic.query('SELECT FROM message'))}", "a/0.1", source=source)
    clinic.drain()

    [claimed] = requests.claim(clinic.sessions, limit=10, lease=MINUTE, by="ehr", sources=["ehr"])

    assert (claimed.source, claimed.message) == ("ehr", "m1")
    assert len(requests.claim(clinic.sessions, limit=10, lease=MINUTE, by="any")) == 2
    with pytest.raises(UsageError, match="invalid source"):
        requests.claim(clinic.sessions, limit=10, lease=MINUTE, by="ehr", sources=["a b"])


def test_withdrawal_is_recorded_and_ends_the_request(flagged: Clinic) -> None:
    [request] = requests.list_requests(flagged.sessions, limit=5)
    withdrawn = requests.withdraw(flagged.sessions, request.id, by="nurse-1")

    assert (withdrawn.id, withdrawn.status) == (request.id, RetakeStatus.WITHDRAWN)
    assert flagged.requests() == [("m", "withdrawn")]
    assert _events(flagged) == [("nurse-1", "retake.withdrawn")]


def test_withdrawal_is_rejected_when_the_request_was_sent(flagged: Clinic) -> None:
    request, token = _claim(flagged)
    requests.acknowledge(flagged.sessions, request.id, token, by="ehr")
    with pytest.raises(UsageError, match="it is sent"):
        requests.withdraw(flagged.sessions, request.id, by="nurse-1")


def _withdraw(clinic: Clinic, request: RetakeRequest) -> None:
    requests.withdraw(clinic.sessions, request.id, by="nurse-1")


def _pass(clinic: Clinic, _: RetakeRequest) -> None:
    override(clinic.sessions, "m", Outcome.PASS, by="nurse-1", reason="sharp enough", policy=clinic.policy)


def _add_good_photo(clinic: Clinic, _: RetakeRequest) -> None:
    clinic.send("m", "b/0.9")
    clinic.drain()


@pytest.mark.parametrize("change", [_withdraw, _pass, _add_good_photo])
@pytest.mark.parametrize("lease", [MINUTE, -MINUTE])
def test_claimed_request_is_withdrawn_and_its_sender_learns_it(
    flagged: Clinic, change: Callable[[Clinic, RetakeRequest], None], lease: timedelta
) -> None:
    [request] = requests.claim(flagged.sessions, limit=10, lease=lease, by="ehr")
    assert request.token is not None
    change(flagged, request)

    assert requests.claim(flagged.sessions, limit=10, lease=MINUTE, by="ehr") == []
    for _ in range(2):
        late = requests.acknowledge(flagged.sessions, request.id, request.token, by="ehr")
        assert (late.status, late.may_have_been_sent) == (RetakeStatus.WITHDRAWN, True)
    [row] = flagged.query("SELECT sent_at IS NOT NULL AS is_sent FROM retake_request")
    assert row.is_sent


def test_withdrawn_request_counts_towards_the_cooldown_only_if_a_sender_had_claimed_it(clinic: Clinic) -> None:
    for message in ("m1", "m2"):
        clinic.send(message, f"{message}/0.1", thread=message)
    clinic.drain()
    [claimed] = requests.claim(clinic.sessions, limit=1, lease=MINUTE, by="ehr")
    for request in requests.list_requests(clinic.sessions, limit=5):
        _withdraw(clinic, request)
    clinic.send("m3", "m3/0.1", thread="m1")
    clinic.send("m4", "m4/0.1", thread="m2")
    clinic.drain()

    assert claimed.thread == "m1"
    assert clinic.decisions("m3") == [("uncertain", "cooldown")]
    assert clinic.decisions("m4") == [("retake", "no_photo_passed")]


def test_request_of_a_dead_sender_is_flagged_again_everywhere(flagged: Clinic) -> None:
    requests.claim(flagged.sessions, limit=10, lease=-MINUTE, by="ehr")

    [request] = requests.list_requests(flagged.sessions, status=RetakeStatus.FLAGGED, limit=5)
    with flagged.sessions() as session:
        gauges = read_gauges(session, lease=MINUTE, stalled_after=MINUTE)
        counts = count_retake_requests(session, Period())

    assert (request.status, request.may_have_been_sent) == (RetakeStatus.FLAGGED, True)
    assert requests.list_requests(flagged.sessions, status=RetakeStatus.CLAIMED, limit=5) == []
    assert gauges.retakes == counts == {"flagged": 1, "claimed": 0, "sent": 0, "withdrawn": 0}
    assert gauges.oldest_waiting_retake_seconds > 0
    [told] = explain(flagged.sessions, "m", by="nurse-1")["retake_requests"]
    assert (told["status"], told["may_have_been_sent"], told["claimed_by"]) == ("flagged", True, "ehr")


def test_withdrawal_is_rejected_when_no_request_has_the_id(flagged: Clinic) -> None:
    with pytest.raises(UsageError, match="no retake request has this id"):
        requests.withdraw(flagged.sessions, RetakeRequestId(new_id()), by="nurse-1")


def test_withdrawal_of_an_old_request_leaves_the_new_one_of_its_message(flagged: Clinic) -> None:
    [old] = requests.list_requests(flagged.sessions, limit=5)
    requests.withdraw(flagged.sessions, old.id, by="nurse-1")
    override(flagged.sessions, "m", Outcome.RETAKE, by="nurse-1", reason="another angle", policy=flagged.policy)

    again = requests.withdraw(flagged.sessions, old.id, by="nurse-1")

    assert (again.id, again.status) == (old.id, RetakeStatus.WITHDRAWN)
    assert flagged.requests() == [("m", "withdrawn"), ("m", "flagged")]
    assert [action for _, action in _events(flagged)].count("retake.withdrawn") == 1
