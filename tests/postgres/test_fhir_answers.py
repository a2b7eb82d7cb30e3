"""Verdicts and retake requests reach the FHIR server that their messages came from: each once, whatever fails."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.support.clinic import Clinic
from tests.support.fhir_server import FhirServer, Returned, fhir_server
from tests.support.rescoring import OtherModel, rescore
from triage.blobs.store import BlobStore
from triage.deliveries import manage
from triage.deliveries.dispatch import Dispatched, Dispatcher
from triage.deliveries.rules import DeliveryRules
from triage.domain.messages import IncomingAttachment, IncomingMessage, Origin
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.retakes import requests
from triage.retakes.override import override
from triage.retakes.requests import answer
from triage.retention.forget import forget
from triage.retention.purge import Retention
from triage.storage import deliveries
from worker.fhir.answers.receiver import FhirReceiver
from worker.fhir.server.client import Anonymous, FhirClient

RULES = DeliveryRules(first_delay=timedelta(0), longest_delay=timedelta(0))


@pytest.fixture
def ehr() -> Iterator[FhirServer]:
    with fhir_server() as server:
        yield server


@pytest.fixture
def fhir_clinic(clinic: Clinic) -> Clinic:
    manage.register(clinic.sessions, "fhir")
    return clinic


def _send(clinic: Clinic, message: str, *photos: str, source: str = "fhir", origin: Origin | None = None) -> None:
    attachments = [
        IncomingAttachment(uri=f"file:///in/{photo}", external_id=f"Media/{index}")
        for index, photo in enumerate(photos)
    ]
    incoming = IncomingMessage(
        source, message, attachments, origin=origin or Origin(subject="Patient/7", author="Patient/7")
    )
    clinic.intake.enqueue([incoming])


def _dispatch(clinic: Clinic, server: FhirServer, **options: Any) -> Dispatched:
    with httpx2.Client(timeout=10, follow_redirects=False) as http:
        receiver = FhirReceiver(FhirClient(http, server.base, Anonymous()), "fhir", **options)
        return Dispatcher(clinic.sessions, "fhir", receiver, RULES).dispatch(seconds=60)


def _deliver_all(clinic: Clinic, server: FhirServer, **options: Any) -> None:
    while any(each.status == "pending" for each in manage.list_deliveries(clinic.sessions, limit=10_000)):
        _dispatch(clinic, server, **options)


def _decide_by_another_model(clinic: Clinic) -> None:
    """Everything is due again."""
    clinic.execute(
        "INSERT INTO model_version (id, name, version, weights_sha256, card, stage) "
        "SELECT gen_random_uuid(), name, 2, repeat('1', 64), card, 'candidate' FROM model_version"
    )
    clinic.execute(
        "INSERT INTO verdict (id, attachment_id, model_version_id, origin, score, threshold, acceptable, grade, "
        "cumulative, patch_scores, width, height) SELECT 'ffffffff-0000-7000-8000-000000000000', attachment_id, "
        "(SELECT id FROM model_version WHERE stage = 'candidate'), origin, 0.9, threshold, true, grade, cumulative, "
        "patch_scores, width, height FROM verdict"
    )
    clinic.execute("UPDATE delivery SET status = 'pending', finished_at = NULL, due_at = now()")


def test_each_photo_gets_an_observation_and_each_retake_a_request(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2", "a/unreadable")
    _send(fhir_clinic, "Communication/2", "0.3")
    fhir_clinic.drain()

    assert _dispatch(fhir_clinic, ehr).failed == 0

    observations = {each["derivedFrom"][0]["reference"]: each for each in ehr.of_type("Observation")}
    assert len(ehr.of_type("Observation")) == 3
    assert observations["Media/1"]["dataAbsentReason"]["text"] == "corrupt"
    [request] = ehr.of_type("CommunicationRequest")
    assert (request["status"], request["basedOn"]) == ("active", [{"reference": "Communication/2"}])
    assert request["subject"] == {"reference": "Patient/7"}
    assert request["recipient"] == [{"reference": "Patient/7"}]
    [(reply,)] = fhir_clinic.query("SELECT reply FROM retake_request")
    assert request["payload"] == [{"contentString": reply["text"]}]


def test_request_is_revoked_when_a_person_overrides_the_decision(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    override(fhir_clinic.sessions, "Communication/1", Outcome.PASS, by="staff-7", reason="x", policy=fhir_clinic.policy)

    _dispatch(fhir_clinic, ehr)

    [request] = ehr.of_type("CommunicationRequest")
    assert (request["status"], request["meta"]["versionId"]) == ("revoked", "2")
    assert request["payload"]
    [observation] = ehr.of_type("Observation")  # the photo is as it was
    assert observation["meta"]["versionId"] == "1"


def test_withdrawn_request_is_never_active_whatever_the_order(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    """Its creation may be on the way from another process, with what was true a moment ago."""
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    with httpx2.Client() as http, fhir_clinic.sessions.begin() as session:
        receiver = FhirReceiver(FhirClient(http, ehr.base, Anonymous()), "fhir")
        late = receiver.load(session, deliveries.claim(session, "fhir", limit=9, lease=timedelta(0)))
    override(fhir_clinic.sessions, "Communication/1", Outcome.PASS, by="staff-7", reason="x", policy=fhir_clinic.policy)
    _dispatch(fhir_clinic, ehr)
    with httpx2.Client() as http:
        receiver = FhirReceiver(FhirClient(http, ehr.base, Anonymous()), "fhir")
        assert not [answer for answer in map(receiver.send, late.values()) if answer.error]

    assert [each["status"] for each in ehr.of_type("CommunicationRequest")] == ["revoked"]


def test_observation_is_amended_when_another_model_has_decided(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    _decide_by_another_model(fhir_clinic)

    _dispatch(fhir_clinic, ehr)

    [observation] = ehr.of_type("Observation")
    assert observation["status"] == "amended"
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == "acceptable"
    assert observation["device"]["identifier"]["value"] == "1" * 64


def test_observation_is_amended_when_a_rescoring_has_withdrawn_the_request(
    fhir_clinic: Clinic, ehr: FhirServer, make_other: Callable[[float], OtherModel]
) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    _send(fhir_clinic, "Communication/2", "b/0.9")  # decided already: its rescoring decides nothing
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    rescore(fhir_clinic, make_other(0.9))

    assert _dispatch(fhir_clinic, ehr).delivered == 2

    assert [each["status"] for each in ehr.of_type("CommunicationRequest")] == ["revoked"]
    amended, kept = sorted(ehr.of_type("Observation"), key=lambda each: str(each["status"]))
    assert (amended["status"], kept["status"]) == ("amended", "final")
    assert kept["device"]["identifier"]["value"] != "1" * 64
    assert amended["valueCodeableConcept"]["coding"][0]["code"] == "acceptable"
    assert amended["device"]["identifier"]["value"] == "1" * 64


def test_observation_keeps_its_verdict_when_a_rescoring_decides_nothing(
    fhir_clinic: Clinic, ehr: FhirServer, make_other: Callable[[float], OtherModel]
) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    rescore(fhir_clinic, make_other(0.3))
    _dispatch(fhir_clinic, ehr)

    [observation] = ehr.of_type("Observation")
    assert (observation["status"], observation["component"][0]["valueQuantity"]["value"]) == ("final", 0.2)


def test_messages_of_other_systems_are_not_written(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2", source="ehr")
    fhir_clinic.drain()

    assert _dispatch(fhir_clinic, ehr).dropped == 2
    assert not ehr.stored


def test_nothing_exists_twice_when_a_sender_died_before_it_recorded_the_answer(
    fhir_clinic: Clinic, ehr: FhirServer
) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    fhir_clinic.execute(
        "UPDATE delivery SET status = 'pending', finished_at = NULL, due_at = now()"
    )  # as if unrecorded

    assert _dispatch(fhir_clinic, ehr).delivered == 2

    assert [each["meta"]["versionId"] for each in ehr.stored.values()] == ["1", "1"]


def test_oldest_is_used_when_the_server_has_made_a_resource_twice(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    [request] = ehr.of_type("CommunicationRequest")
    ehr.stored["CommunicationRequest/z"] = request | {"id": "z", "meta": {"versionId": "1", "lastUpdated": "2027"}}
    override(fhir_clinic.sessions, "Communication/1", Outcome.PASS, by="staff-7", reason="x", policy=fhir_clinic.policy)

    assert _dispatch(fhir_clinic, ehr).failed == 0

    assert ehr.stored[f"CommunicationRequest/{request['id']}"]["status"] == "revoked"


@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("returns", ["outcome", "nothing", "empty", "garbage"])
def test_stored_resource_is_read_when_the_server_does_not_return_it(
    fhir_clinic: Clinic, returns: Returned, names: bool
) -> None:
    def deliver(server: FhirServer) -> None:
        with capture_logs() as logs:
            _deliver_all(fhir_clinic, server, retakes_as="Task")
        assert "answer.doubled" not in {each["event"] for each in logs}

    with fhir_server(returns=returns, names=names) as ehr:
        _send(fhir_clinic, "Communication/1", "0.2")
        fhir_clinic.drain()
        deliver(ehr)
        override(
            fhir_clinic.sessions, "Communication/1", Outcome.PASS, by="staff-7", reason="x", policy=fhir_clinic.policy
        )
        _decide_by_another_model(fhir_clinic)
        deliver(ehr)

        [request] = ehr.of_type("CommunicationRequest")
        [task] = ehr.of_type("Task")
        assert (request["status"], task["status"]) == ("revoked", "cancelled")
        assert task["focus"] == {"reference": f"CommunicationRequest/{request['id']}"}
        assert [each["status"] for each in ehr.of_type("Observation")] == ["amended"]


def test_forgotten_message_leaves_a_revoked_request_and_no_new_observation(
    fhir_clinic: Clinic, ehr: FhirServer, tmp_path: Path
) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    _send(fhir_clinic, "Communication/2", "0.2")
    fhir_clinic.drain()
    retention = Retention(fhir_clinic.sessions, BlobStore(str(tmp_path)), keep=None)
    forget(fhir_clinic.sessions, retention, "Communication/1", by="op-1", reason="r-1", policy=fhir_clinic.policy)
    _dispatch(fhir_clinic, ehr)
    forget(fhir_clinic.sessions, retention, "Communication/2", by="op-1", reason="r-1", policy=fhir_clinic.policy)
    _dispatch(fhir_clinic, ehr)

    assert {each["status"] for each in ehr.of_type("CommunicationRequest")} == {"revoked"}
    [observation] = ehr.of_type("Observation")
    assert observation["subject"] == {"reference": "Patient/7"}  # what the EHR has is the EHR's to delete


def test_each_answer_exists_exactly_once_when_a_fifth_of_the_requests_fail(fhir_clinic: Clinic) -> None:
    """Half of the failures come after the server has stored the resource."""
    with fhir_server(failing=0.2) as ehr:
        for number in range(120):
            _send(fhir_clinic, f"Communication/{number}", f"{number}/0.2")
        fhir_clinic.drain()
        _deliver_all(fhir_clinic, ehr)

        for kind in ("Observation", "CommunicationRequest"):
            identifiers = [each["identifier"][0]["value"] for each in ehr.of_type(kind)]
            assert len(identifiers) == len(set(identifiers)) == 120


def test_request_is_completed_when_a_message_has_answered_it(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    [row] = fhir_clinic.query("SELECT id FROM retake_request")
    answering = IncomingMessage("fhir", "Communication/2", [IncomingAttachment(uri="file:///in/0.9", external_id="1")])
    [accepted] = fhir_clinic.intake.enqueue([answering])

    answer(fhir_clinic.sessions, [row.id], source="fhir", message_id=accepted.id, by="fhir")
    _dispatch(fhir_clinic, ehr)

    [request] = ehr.of_type("CommunicationRequest")
    assert request["status"] == "completed"


def test_request_is_sent_once_and_audited_when_the_server_has_it(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    for _ in range(2):  # the second time as if the sender was killed before it recorded anything
        _dispatch(fhir_clinic, ehr)
        fhir_clinic.execute("UPDATE delivery SET status = 'pending', finished_at = NULL, due_at = now()")

    assert fhir_clinic.requests() == [("Communication/1", "sent")]
    [row] = fhir_clinic.query("SELECT claimed_by, sent_at, lease_until FROM retake_request")
    assert (row.claimed_by, row.lease_until) == ("fhir", None)
    events = fhir_clinic.query("SELECT actor, details ->> 'status' FROM audit_event WHERE action = 'retake.acked'")
    assert [tuple(each) for each in events] == [("fhir", "sent")]


def test_request_stays_flagged_when_the_server_does_not_take_it(fhir_clinic: Clinic) -> None:
    with fhir_server(failing=1.0) as ehr:
        _send(fhir_clinic, "Communication/1", "0.2")
        fhir_clinic.drain()
        _dispatch(fhir_clinic, ehr)

    assert fhir_clinic.requests() == [("Communication/1", "flagged")]


def test_message_systems_claim_no_request_that_the_server_collects(fhir_clinic: Clinic) -> None:
    manage.register(fhir_clinic.sessions, "fhir", collects="fhir")
    _send(fhir_clinic, "Communication/1", "0.2")
    _send(fhir_clinic, "m-1", "a/0.2", source="portal")
    fhir_clinic.drain()

    def claim() -> list[str]:
        claimed = requests.claim(fhir_clinic.sessions, limit=10, lease=timedelta(0), by="portal")
        return sorted(each.message for each in claimed)

    assert claim() == ["m-1"]
    manage.register(fhir_clinic.sessions, "fhir")
    assert claim() == ["Communication/1", "m-1"]


def test_sent_request_is_revoked_and_no_longer_counts_as_sent(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr)
    [row] = fhir_clinic.query("SELECT id FROM retake_request")

    requests.withdraw(fhir_clinic.sessions, row.id, by="nurse-1")
    _dispatch(fhir_clinic, ehr)

    assert fhir_clinic.requests() == [("Communication/1", "withdrawn")]
    assert [each["status"] for each in ehr.of_type("CommunicationRequest")] == ["revoked"]


def test_request_that_a_message_system_sent_is_not_revocable(fhir_clinic: Clinic, ehr: FhirServer) -> None:
    _send(fhir_clinic, "Communication/1", "0.2")
    fhir_clinic.drain()
    [claimed] = requests.claim(fhir_clinic.sessions, limit=1, lease=timedelta(minutes=1), by="portal")
    assert claimed.token is not None
    requests.acknowledge(fhir_clinic.sessions, claimed.id, claimed.token, by="portal")
    _dispatch(fhir_clinic, ehr, retakes_as="none")

    with pytest.raises(UsageError, match="it is sent"):
        requests.withdraw(fhir_clinic.sessions, claimed.id, by="nurse-1")
    assert not ehr.of_type("CommunicationRequest")


@pytest.mark.parametrize(
    ("retakes_as", "expected"),
    [
        ("CommunicationRequest", {"CommunicationRequest": ("active", "completed", "revoked")}),
        (
            "Task",
            {
                "CommunicationRequest": ("active", "completed", "revoked"),
                "Task": ("requested", "completed", "cancelled"),
            },
        ),
        ("Communication", {"Communication": ("completed", "completed", "entered-in-error")}),
    ],
)
def test_each_kind_of_request_ends_as_r4_allows(
    fhir_clinic: Clinic, ehr: FhirServer, retakes_as: str, expected: dict[str, tuple[str, str, str]]
) -> None:
    def statuses() -> dict[str, list[str]]:
        kinds = ("CommunicationRequest", "Task", "Communication")
        return {kind: [each["status"] for each in found] for kind in kinds if (found := ehr.of_type(kind))}

    for number in (1, 2):
        _send(fhir_clinic, f"Communication/{number}", f"{number}/0.2")
    fhir_clinic.drain()
    _dispatch(fhir_clinic, ehr, retakes_as=retakes_as)
    assert statuses() == {kind: [asked, asked] for kind, (asked, _, _) in expected.items()}
    first, second = fhir_clinic.query("SELECT id, message_id FROM retake_request ORDER BY id")
    answer(fhir_clinic.sessions, [first.id], source="fhir", message_id=second.message_id, by="fhir")
    requests.withdraw(fhir_clinic.sessions, second.id, by="nurse-1")

    _dispatch(fhir_clinic, ehr, retakes_as=retakes_as)

    for kind, (_, answered, withdrawn) in expected.items():
        ended = {each["identifier"][0]["value"]: each["status"] for each in ehr.of_type(kind)}
        assert ended == {str(first.id): answered, str(second.id): withdrawn}
    for each in ehr.of_type("Task"):
        assert each["focus"]["reference"] in ehr.stored
