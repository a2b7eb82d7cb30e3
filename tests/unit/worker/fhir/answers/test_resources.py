"""What is written back: resources with ids, codes and numbers, and nothing that FHIR does not allow."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import worker.fhir
from triage.domain.answers import AnsweredPhoto, ModelVerdict, RequestAnswer
from triage.domain.ids import AttachmentId, RetakeRequestId, new_id
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from triage.domain.replies import Reply
from triage.domain.states import FindingKind, FindingLevel
from triage.errors import ErrorCode
from worker.fhir import terms
from worker.fhir.answers.asking import communication, communication_request, ends, task
from worker.fhir.answers.observation import amended, observation, supersedes
from worker.fhir.parts import identifier_query

NOW = datetime(2026, 11, 29, 12, 0, 0, 123456, tzinfo=UTC)
ORIGIN = Origin(subject="Patient/7", author="RelatedPerson/8", encounter="Encounter/9")
DEFINITIONS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (Path(worker.fhir.__file__).parent / "endpoint" / "definitions").glob("*.json")
}


def _verdict(*, acceptable: bool = False, findings: tuple[Finding, ...] = ()) -> ModelVerdict:
    return ModelVerdict(new_id(), 0.2345678, 0.5, acceptable, 3, findings, "starter", "a" * 64, NOW)


def _photo(verdict: ModelVerdict | None, external_id: str = "DocumentReference/d-1/content/0") -> AnsweredPhoto:
    code = None if verdict else ErrorCode.CORRUPT
    return AnsweredPhoto(AttachmentId(new_id()), external_id, verdict, code, NOW)


def _request(
    *,
    is_withdrawn: bool = False,
    is_answered: bool = False,
    origin: Origin | None = ORIGIN,
    text: str | None = "Please.",
    thread: str = "Communication/m-0",
) -> RequestAnswer:
    reply = Reply("en", "1", "New photos", text) if text else None
    id_ = RetakeRequestId(new_id())
    return RequestAnswer(id_, "Communication/m-1", thread, origin, reply, is_withdrawn, NOW, is_answered)


def _codes(resource: Any) -> list[tuple[str, str]]:
    """All codes of a resource with their systems."""
    if isinstance(resource, dict):
        own = [(resource["system"], resource["code"])] if {"system", "code"} <= resource.keys() else []
        return own + [code for value in resource.values() for code in _codes(value)]
    return [code for value in resource for code in _codes(value)] if isinstance(resource, list) else []


def _has_empty(value: Any) -> bool:
    if value in (None, "", [], {}):
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_empty, inner))


def test_verdict_is_an_observation_with_score_threshold_and_findings() -> None:
    photo = _photo(_verdict(findings=(Finding(FindingKind.TOO_DARK, FindingLevel.SEVERE, 0.9),)))

    resource = observation(photo, "Communication/m-1", ORIGIN)

    assert resource["subject"] == {"reference": "Patient/7"}
    assert resource["encounter"] == {"reference": "Encounter/9"}
    assert resource["derivedFrom"] == [{"reference": "DocumentReference/d-1"}]
    assert "focus" not in resource
    assert resource["issued"] == "2026-11-29T12:00:00.123Z"
    assert resource["valueCodeableConcept"]["coding"][0]["code"] == "unacceptable"
    assert resource["meta"]["security"][0]["code"] == "AIAST"
    score, grade, finding = resource["component"]
    assert score["valueQuantity"]["value"] == 0.234568
    assert score["referenceRange"][0]["low"]["value"] == 0.5
    assert grade["valueInteger"] == 3
    assert (finding["code"]["coding"][0]["code"], finding["valueCodeableConcept"]["coding"][0]["code"]) == (
        "too-dark",
        "severe",
    )


def test_unreadable_photo_has_a_reason_instead_of_a_value() -> None:
    """The invariant obs-6 allows one of them."""
    resource = observation(_photo(None), "Communication/m-1", ORIGIN)

    assert resource["dataAbsentReason"]["text"] == "corrupt"
    assert {"valueCodeableConcept", "component", "device"} & resource.keys() == set()
    assert "security" not in resource["meta"]


@pytest.mark.parametrize("external_id", ["payload/0", "Binary/7", "Media", "a-1", "DocumentReference/d_1/content/0"])
def test_observation_is_about_the_message_when_the_photo_is_part_of_it(external_id: str) -> None:
    resource = observation(_photo(_verdict(), external_id), "Communication/m-1", ORIGIN)

    assert resource["focus"] == [{"reference": "Communication/m-1"}]
    assert "derivedFrom" not in resource


def test_request_has_the_text_for_the_author_of_the_message() -> None:
    resource = communication_request(_request())

    assert resource["status"] == "active"
    assert resource["basedOn"] == [{"reference": "Communication/m-1"}]
    assert resource["recipient"] == [{"reference": "RelatedPerson/8"}]
    assert resource["payload"] == [{"contentString": "Please."}]
    assert resource["language"] == "en"


def test_withdrawn_request_of_a_forgotten_message_names_nobody() -> None:
    resource = communication_request(_request(is_withdrawn=True, origin=None, text=None))

    assert resource["status"] == "revoked"
    assert {"subject", "recipient", "encounter", "payload", "language"} & resource.keys() == set()


def test_message_continues_the_conversation_and_is_of_this_product() -> None:
    resource = communication(_request())

    assert (resource["status"], resource["sender"]["type"]) == ("completed", "Device")
    assert resource["inResponseTo"] == [{"reference": "Communication/m-1"}]
    assert resource["partOf"] == [{"reference": "Communication/m-0"}]
    assert resource["payload"] == [{"contentString": "Please."}]
    for thread in ("Communication/m-1", "no reference"):
        assert "partOf" not in communication(_request(thread=thread))


def test_task_names_the_request_and_its_owner() -> None:
    resource = task(_request(), focus="CommunicationRequest/9", owner="Organization/7")

    assert (resource["status"], resource["intent"]) == ("requested", "order")
    assert resource["focus"] == {"reference": "CommunicationRequest/9"}
    assert resource["owner"] == {"reference": "Organization/7"}
    assert "payload" not in resource


@pytest.mark.parametrize(
    ("resource", "stored", "is_ended"),
    [
        (communication_request(_request(is_withdrawn=True)), "active", True),
        (communication_request(_request(is_withdrawn=True)), "completed", False),
        (communication_request(_request(is_answered=True, is_withdrawn=True)), "active", True),
        (communication_request(_request()), "active", False),
        (task(_request(is_withdrawn=True), focus="x", owner=None), "in-progress", True),
        (task(_request(is_withdrawn=True), focus="x", owner=None), "rejected", False),
        (task(_request(is_answered=True), focus="x", owner=None), "accepted", True),
        (communication(_request(is_withdrawn=True)), "completed", True),
        (communication(_request(is_withdrawn=True)), "entered-in-error", False),
        (communication(_request(is_answered=True)), "in-progress", False),
    ],
)
def test_only_an_open_resource_gets_the_end_of_its_request(
    resource: dict[str, Any], stored: str, *, is_ended: bool
) -> None:
    assert ends(resource, {"status": stored}) is is_ended


@pytest.mark.parametrize("origin", [ORIGIN, Origin(), None])
def test_no_element_is_empty(origin: Origin | None) -> None:
    for resource in (
        observation(_photo(_verdict()), "Communication/m-1", origin),
        observation(_photo(None), "no reference", origin),
        communication_request(_request(origin=origin)),
        communication_request(_request(origin=origin, text=None)),
        communication(_request(origin=origin, text=None)),
        task(_request(origin=origin), focus="CommunicationRequest/9", owner=None),
    ):
        assert not _has_empty(resource)


def test_every_code_is_defined_by_a_file_that_is_shipped() -> None:
    """Only codes of other systems are taken as they are."""
    findings = tuple(Finding(kind, level, 0.5) for kind in FindingKind for level in FindingLevel)
    resources = [observation(_photo(_verdict(acceptable=good, findings=findings)), "x", None) for good in (True, False)]
    used = {(system, code) for each in resources for system, code in _codes(each) if system.startswith(terms.CANONICAL)}
    defined = {
        (document["url"], concept["code"])
        for document in DEFINITIONS.values()
        if document["resourceType"] == "CodeSystem" and document["url"] != terms.ERROR_CODE
        for concept in document["concept"]
    }

    assert used == defined


def test_profiles_are_shipped_under_the_names_that_resources_claim() -> None:
    profiles = {d["url"]: d["type"] for d in DEFINITIONS.values() if d["resourceType"] == "StructureDefinition"}

    assert profiles == {
        terms.VERDICT_PROFILE: "Observation",
        terms.REQUEST_PROFILE: "CommunicationRequest",
        terms.TASK_PROFILE: "Task",
        terms.MESSAGE_PROFILE: "Communication",
        terms.PATIENT_MESSAGE_PROFILE: "Communication",
    }
    assert communication(_request())["meta"]["profile"] == [terms.MESSAGE_PROFILE]
    assert task(_request(), focus="x", owner=None)["meta"]["profile"] == [terms.TASK_PROFILE]
    assert observation(_photo(None), "x", None)["meta"]["profile"] == [terms.VERDICT_PROFILE]
    assert communication_request(_request())["meta"]["profile"] == [terms.REQUEST_PROFILE]


def test_later_verdict_supersedes_an_earlier_one_and_never_the_reverse() -> None:
    photo = _photo(None)
    unread = observation(photo, "x", None)
    first, second = (
        observation(AnsweredPhoto(photo.id, photo.external_id, _verdict(), None, NOW), "x", None) for _ in range(2)
    )

    assert identifier_query(unread) == identifier_query(first) == identifier_query(second)
    assert [supersedes(second, first), supersedes(first, unread)] == [True, True]
    assert [supersedes(first, second), supersedes(unread, first), supersedes(first, first)] == [False] * 3
    assert amended({"id": "7"}, second)["status"] == "amended"
