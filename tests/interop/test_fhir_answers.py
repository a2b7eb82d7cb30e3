"""Verdicts and retake requests are written to a FHIR server that others wrote, with its own token server.

sekmet-fhir validates what it stores, enforces scopes, and refuses an assertion that it has seen.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from tests.interop.sekmet import Sekmet, serve_sekmet
from tests.interop.validators import DEFINITIONS, structure_problems
from tests.support.clinic import Clinic
from triage.deliveries import manage
from triage.deliveries.dispatch import Dispatched
from triage.domain.messages import IncomingAttachment, IncomingMessage, Origin
from triage.domain.states import Outcome
from triage.retakes.override import override
from worker.fhir.check.survey import survey
from worker.setting_groups import FhirSettings
from worker.settings import Settings
from worker.tasks.base import WorkerServices

pytestmark = pytest.mark.long

SCOPES = "system/Observation.cruds system/CommunicationRequest.cruds"


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sekmet]:
    validating = {"inbound": "strict"}
    with serve_sekmet(tmp_path_factory.mktemp("sekmet"), scopes=SCOPES, validation=validating) as server:
        yield server


def _answers(sekmet: Sekmet, clinic: Clinic, kind: str) -> list[dict[str, Any]]:
    """What was written for this clinic: other tests write to the same server."""
    stored = [entry["resource"] for entry in sekmet.find(f"{kind}?_count=1000").get("entry", [])]
    ids = {str(row.id) for row in clinic.query("SELECT id FROM attachment UNION ALL SELECT id FROM retake_request")}
    return [each for each in stored if each["identifier"][0]["value"] in ids]


@pytest.fixture
def fhir_clinic(clinic: Clinic) -> Clinic:
    manage.register(clinic.sessions, "fhir")
    return clinic


def _send(clinic: Clinic, sekmet: Sekmet, *photos: str) -> str:
    """A patient's message with photos, of which the first is a Media resource; returns its reference."""
    patient = sekmet.store({"resourceType": "Patient"})
    content = {"contentType": "image/jpeg", "data": "/9j/"}
    media = sekmet.store({"resourceType": "Media", "status": "completed", "content": content})
    payload = [{"contentReference": {"reference": media}}]
    message = sekmet.store(
        {
            "resourceType": "Communication",
            "status": "completed",
            "subject": {"reference": patient},
            "sender": {"reference": patient},
            "payload": payload,
        }
    )
    ids = [media, *(f"payload/{index}" for index in range(1, len(photos)))]
    attachments = [
        IncomingAttachment(uri=f"file:///in/{photo}", external_id=id_) for id_, photo in zip(ids, photos, strict=True)
    ]
    origin = Origin(subject=patient, author=patient)
    clinic.intake.enqueue([IncomingMessage("fhir", message, attachments, origin=origin)])
    clinic.drain()
    return message


Dispatch: TypeAlias = Callable[..., Dispatched]


@pytest.fixture
def dispatch(settings: Settings, sekmet: Sekmet) -> Dispatch:
    """Sends what is due with the services of a delivery worker, whose settings name the server."""

    def send(scopes: str = SCOPES) -> Dispatched:
        fhir = FhirSettings(url=sekmet.base, client_id="triage", key_file=sekmet.key_file, scopes=scopes, answers=True)
        with WorkerServices(settings.model_copy(update={"fhir": fhir})) as services:
            assert services.targets == ["fhir"]
            return services.dispatcher("fhir", on_progress=lambda: None).dispatch(seconds=120)

    return send


def test_answers_are_stored_validated_and_revoked(fhir_clinic: Clinic, sekmet: Sekmet, dispatch: Dispatch) -> None:
    retaken = _send(fhir_clinic, sekmet, "0.2", "a/0.3")
    _send(fhir_clinic, sekmet, "b/unreadable")

    sent = dispatch()

    assert (sent.delivered, sent.failed) == (3, 0)
    [request] = _answers(sekmet, fhir_clinic, "CommunicationRequest")
    assert (request["status"], request["basedOn"]) == ("active", [{"reference": retaken}])
    observations = _answers(sekmet, fhir_clinic, "Observation")
    assert sorted("dataAbsentReason" in each for each in observations) == [False, False, True]
    assert sum("derivedFrom" in each for each in observations) == 2
    assert structure_problems([*observations, request]) == []

    override(fhir_clinic.sessions, retaken, Outcome.PASS, by="staff-7", reason="x", policy=fhir_clinic.policy)
    assert dispatch().failed == 0
    [request] = _answers(sekmet, fhir_clinic, "CommunicationRequest")
    assert request["status"] == "revoked"


def test_nothing_exists_twice_when_no_answer_was_recorded(
    fhir_clinic: Clinic, sekmet: Sekmet, dispatch: Dispatch
) -> None:
    message = _send(fhir_clinic, sekmet, "0.2")
    for _ in range(3):
        assert dispatch().delivered == 2
        fhir_clinic.execute("UPDATE delivery SET status = 'pending', finished_at = NULL, due_at = clock_timestamp()")

    assert [each["basedOn"] for each in _answers(sekmet, fhir_clinic, "CommunicationRequest")] == [
        [{"reference": message}]
    ]
    assert len(_answers(sekmet, fhir_clinic, "Observation")) == 1


def test_answer_is_refused_when_the_client_lacks_a_scope(
    fhir_clinic: Clinic, sekmet: Sekmet, dispatch: Dispatch
) -> None:
    _send(fhir_clinic, sekmet, "0.2")

    sent = dispatch("system/Observation.cruds")

    assert (sent.delivered, sent.failed) == (1, 1)


def test_check_finds_what_the_server_supports(sekmet: Sekmet) -> None:
    fhir = FhirSettings(url=sekmet.base, client_id="triage", key_file=sekmet.key_file, scopes=SCOPES, answers=True)

    found = survey(fhir, None)

    lacking = {each.name: each.detail for each in found.abilities if each.is_lacking}
    assert list(lacking) == ["scopes granted"]
    assert lacking["scopes granted"].startswith("missing: system/Communication.r ")
    assert found.fitting["TRIAGE_FHIR__ANSWERS"] == "true"


def test_shipped_definitions_are_valid() -> None:
    assert structure_problems(DEFINITIONS) == []
