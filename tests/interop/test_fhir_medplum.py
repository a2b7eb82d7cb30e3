"""Verdicts and retake requests are written to Medplum's router: its versions are UUIDs, its searches have no links."""

import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.interop.conftest import FOLDER
from tests.support.clinic import Clinic
from triage.deliveries import manage
from triage.deliveries.dispatch import Dispatched, Dispatcher
from triage.deliveries.rules import DeliveryRules
from triage.domain.messages import IncomingAttachment, IncomingMessage, Origin
from triage.retakes import requests
from worker.fhir.answers.receiver import FhirReceiver
from worker.fhir.server.client import Anonymous, FhirClient

pytestmark = pytest.mark.long


@pytest.fixture
def medplum(node: list[str]) -> Iterator[FhirClient]:
    with subprocess.Popen(
        [*node, "medplum_server.mjs"], cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            with httpx2.Client(timeout=30, follow_redirects=False) as http:
                yield FhirClient(http, f"http://127.0.0.1:{port}/fhir", Anonymous())
        finally:
            server.terminate()


@pytest.mark.parametrize("retakes_as", ["CommunicationRequest", "Task", "Communication"])
def test_answers_exist_once_and_are_taken_back(clinic: Clinic, medplum: FhirClient, retakes_as: Any) -> None:
    manage.register(clinic.sessions, "fhir")
    patient = medplum.create({"resourceType": "Patient"}).resource["id"]
    message = medplum.create(
        {
            "resourceType": "Communication",
            "status": "in-progress",
            "sender": {"reference": f"Patient/{patient}"},
            "payload": [{"contentString": "see the photo"}],
        }
    ).resource["id"]
    photo = IncomingAttachment(uri="file:///in/0.2", external_id="payload/0")
    origin = Origin(subject=f"Patient/{patient}", author=f"Patient/{patient}")
    clinic.intake.enqueue([IncomingMessage("fhir", f"Communication/{message}", [photo], origin=origin)])
    clinic.drain()

    def dispatch() -> Dispatched:
        receiver = FhirReceiver(medplum, "fhir", retakes_as)
        return Dispatcher(clinic.sessions, "fhir", receiver, DeliveryRules()).dispatch(seconds=60)

    assert dispatch().delivered == 2
    clinic.execute("UPDATE delivery SET status = 'pending', finished_at = NULL, due_at = now()")
    assert dispatch().delivered == 2
    [row] = clinic.query("SELECT id, status FROM retake_request")
    assert row.status == "sent"

    def stored() -> list[str]:
        kinds = {"CommunicationRequest", "Communication", retakes_as}
        found = [each for kind in sorted(kinds) for each in medplum.search(kind)]
        return sorted(each["status"] for each in found if each.get("identifier"))

    asked = {"CommunicationRequest": ["active"], "Task": ["active", "requested"], "Communication": ["completed"]}
    assert stored() == asked[retakes_as]
    assert len(list(medplum.search("Observation"))) == 1

    requests.withdraw(clinic.sessions, row.id, by="nurse-1")
    assert dispatch().delivered == 1
    ended = {
        "CommunicationRequest": ["revoked"],
        "Task": ["cancelled", "revoked"],
        "Communication": ["entered-in-error"],
    }
    assert stored() == ended[retakes_as]
