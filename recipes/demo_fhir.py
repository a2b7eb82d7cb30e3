"""The way from an EHR and back on this machine: `make demo-fhir`.

A FHIR server that others wrote (sekmet-fhir, with its own token server) starts beside embedded services and workers. A
patient's message with a blurred photo arrives on it; the verdict and the request appear there; a new photo closes it.
"""

import base64
import io
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from PIL import Image

from recipes.steps import step
from tests.interop.sekmet import Sekmet, serve_sekmet
from triage.imaging.degradation import Degradation, degrade
from triage.model.starter import STARTER_FOLDER
from triage.retakes.requests import list_requests
from triage.samples.drawing import draw_skin_photo
from triage.storage import deliveries
from worker.cli.tables import print_line, wrapped
from worker.embedded.stack import EmbeddedStack
from worker.services import Services, open_services
from worker.settings import BlobSettings, DatabaseSettings, ModelSettings, RedisSettings, Settings
from worker.state_folder import default_state_folder

SCOPES: Final = (
    "system/Communication.read system/Binary.read system/DocumentReference.read system/Media.read "
    "system/CommunicationRequest.cruds system/Observation.cruds"
)
_WAIT_SECONDS: Final = 120.0

Value = TypeVar("Value")


def main() -> None:
    """Starts everything, shows each step and ends everything that it started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops the services in order, as Ctrl-C does
    root = Path(os.environ.get("TRIAGE_HOME", default_state_folder())) / "demo-fhir"
    settings = Settings(
        home=root, database=DatabaseSettings(), redis=RedisSettings(), blobs=BlobSettings(), models=ModelSettings()
    )
    with (
        tempfile.TemporaryDirectory(prefix="triage-demo-fhir-") as folder,
        serve_sekmet(Path(folder), scopes=SCOPES) as ehr,
    ):
        step("a FHIR server (sekmet-fhir) stands for the EHR", ehr.base)
        with EmbeddedStack(settings.embedded, _environment(ehr)) as stack:
            stack.start_services()
            stack.recreate_database()
            stack.migrate()
            shutil.rmtree(settings.embedded.blobs, ignore_errors=True)
            settings.embedded.prepare()
            with open_services(settings) as services:
                model = services.registry.add_folder(STARTER_FOLDER, actor="demo")
                services.registry.promote(model.card.weights_sha256, actor="demo")
                stack.start_workers(["scoring", "intake", "delivery"])
                _wait_for(lambda: _targets(services))
                step("this product is up", "Postgres, Redis and three workers, which read that server and write to it")
                _show(ehr, services)
    print_line()
    print_line("everything stopped")


def _show(ehr: Sekmet, services: Services) -> None:
    sharp = draw_skin_photo(1)
    patient = ehr.store({"resourceType": "Patient"})
    first = _send(ehr, patient, degrade(sharp, Degradation.DEFOCUS, 1.0))
    step("a patient sends a message with a blurred photo", first)
    verdict = _wait_for(lambda: _about(ehr, "Observation", first))
    step("the verdict is on the server", f"Observation/{verdict['id']}: {_verdict(verdict)}")
    request = _wait_for(lambda: _find(ehr, "CommunicationRequest", lambda each: each["status"] == "active"))
    step("so is the request for new photos, with its text for the patient", f"CommunicationRequest/{request['id']}")
    for paragraph in request["payload"][0]["contentString"].split("\n\n"):
        for line in wrapped(paragraph, 76):
            print_line(f"    {line}")
    _wait_for(lambda: _statuses(services) == ["sent"])
    step("status of the request here; message systems can no longer claim it", ", ".join(_statuses(services)))
    answer = {"basedOn": [{"reference": f"CommunicationRequest/{request['id']}"}]}
    second = _send(ehr, patient, sharp, answer)
    step("the patient answers with a sharp photo", second)
    verdict = _wait_for(lambda: _about(ehr, "Observation", second))
    step("its verdict is on the server", f"Observation/{verdict['id']}: {_verdict(verdict)}")
    reference = f"CommunicationRequest/{request['id']}"
    _wait_for(lambda: ehr.find(reference)["status"] == "completed")
    step("and the request on the server is closed", f"{reference}: completed")


def _send(ehr: Sekmet, patient: str, photo: Image.Image, more: Mapping[str, Any] | None = None) -> str:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=95)
    data = base64.b64encode(file.getvalue()).decode()
    binary = ehr.store({"resourceType": "Binary", "contentType": "image/jpeg", "data": data})
    message = {
        "resourceType": "Communication",
        "status": "completed",
        "language": "en",
        "subject": {"reference": patient},
        "sender": {"reference": patient},
        "payload": [{"contentReference": {"reference": binary}}],
    }
    return ehr.store(message | dict(more or {}))


def _about(ehr: Sekmet, kind: str, message: str) -> dict[str, Any] | None:
    return _find(ehr, kind, lambda each: {"reference": message} in each.get("focus", []))


def _find(ehr: Sekmet, kind: str, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    found = (entry["resource"] for entry in ehr.find(kind).get("entry", []))
    return next(filter(is_it, found), None)


def _verdict(observation: dict[str, Any]) -> str:
    score, _, *findings = observation["component"]
    reasons = ", ".join(each["code"]["coding"][0]["code"] for each in findings)
    value = observation["valueCodeableConcept"]["coding"][0]["code"]
    return f"{value}, score {score['valueQuantity']['value']}{f', {reasons}' if reasons else ''}"


def _targets(services: Services) -> list[str]:
    with services.sessions() as session:
        return deliveries.targets(session)


def _statuses(services: Services) -> list[str]:
    return [each.status.value for each in list_requests(services.sessions, limit=10)]


def _wait_for(ask: Callable[[], Value | None]) -> Value:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (found := ask()):
        if time.monotonic() > deadline:
            raise SystemExit("nothing came within two minutes: see the logs in the state folder, demo-fhir/logs")
        time.sleep(0.2)
    return found


def _environment(ehr: Sekmet) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    fhir = {
        "URL": ehr.base,
        "CLIENT_ID": "triage",
        "KEY_FILE": str(ehr.key_file),
        "SCOPES": SCOPES,
        "ANSWERS": "true",
        "POLL_QUERY": "Communication",
        "POLL_SECONDS": "1",
    }
    return kept | {f"TRIAGE_FHIR__{name}": value for name, value in fhir.items()} | {"TRIAGE_INBOX__SWEEP_SECONDS": "1"}


if __name__ == "__main__":
    main()
