"""Messages are read on a FHIR server that others wrote, which tells of them by both kinds of subscription.

sekmet-fhir has its own token server, enforces scopes, and refuses an assertion that it has seen.
"""

import base64
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from joserfc.jwk import ECKey
from sqlalchemy import text

from tests.support.deployment import eventually
from tests.support.served import Served
from triage.arrivals.announce import has_work
from triage.domain.ids import new_id
from triage.domain.messages import Origin
from triage.storage import origins
from worker.app import create_app
from worker.doctor import check_arrivals, check_fhir_server
from worker.fhir.terms import REQUEST_ID
from worker.queues import TaskName
from worker.settings import FhirSettings
from worker.tasks.base import WorkerServices, services_of

pytestmark = pytest.mark.long

FOREIGN = Path(__file__).parents[2] / ".venv" / "interop" / "bin"
ADMIN = {"Authorization": "Bearer admin-token"}
SCOPES = (
    "system/Communication.read system/Binary.read system/DocumentReference.read system/Media.read "
    "system/CommunicationRequest.read"
)
NOTIFICATION = [
    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/communication-category", "code": "notification"}]}
]
TOPIC = "https://triage.example/SubscriptionTopic/patient-message"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
R5 = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"


@dataclass
class Sekmet:
    base: str
    key_file: Path
    http: httpx2.Client

    def store(self, resource: dict[str, Any]) -> str:
        """Stores a resource as the hospital does, and returns its reference."""
        kind, id_ = resource["resourceType"], resource.get("id")
        method, path = ("PUT", f"{kind}/{id_}") if id_ else ("POST", kind)
        answer = self.http.request(method, f"{self.base}/{path}", json=resource, headers=ADMIN)
        assert answer.status_code in {200, 201}, answer.text
        return f"{kind}/{answer.json()['id']}"

    def message(self, photo: bytes, **fields: Any) -> str:
        """Stores a patient's message with a photo in a Binary."""
        encoded = base64.b64encode(photo).decode()
        binary = self.store({"resourceType": "Binary", "contentType": "image/jpeg", "data": encoded})
        patient = {"reference": self.store({"resourceType": "Patient", "id": "p-1"})}
        message = {
            "resourceType": "Communication",
            "status": "completed",
            "category": NOTIFICATION,
            "subject": patient,
            "sender": patient,
            "payload": [{"contentString": "it itches"}, {"contentReference": {"reference": binary}}],
        }
        return self.store(message | fields)

    def change(self, reference: str, **fields: Any) -> None:
        found = self.http.get(f"{self.base}/{reference}", headers=ADMIN).json()
        self.store(found | fields)

    def subscribe(self, subscription: dict[str, Any]) -> None:
        stored = self.store({"resourceType": "Subscription", "status": "requested", "reason": "photos"} | subscription)
        eventually(lambda: self.http.get(f"{self.base}/{stored}", headers=ADMIN).json()["status"] == "active")


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sekmet]:
    if not (FOREIGN / "sekmet").exists():
        pytest.skip("sekmet is missing: `make test-interop` installs it")
    folder = tmp_path_factory.mktemp("sekmet")
    key = ECKey.generate_key("P-384")
    (folder / "client.pem").write_bytes(key.as_pem(private=True))
    (folder / "client.pub").write_bytes(key.as_pem(private=False))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}/fhir"
    client = {"client_id": "triage", "public_key_path": str(folder / "client.pub"), "scopes": SCOPES}
    settings = {
        "base_url": base,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder / "data"),
        "own_private_key_path": str(folder / "client.pem"),
        "subscriptions": {"notify_method": "post-endpoint"},
        "simulator": {"enabled": False},
        "server_auth": {"types": ["smart", "bearer"], "tokens": ["admin-token"], "smart_clients": [client]},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    environment = os.environ | {"SEKMET_CONFIG": str(folder / "settings.yaml")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([FOREIGN / "sekmet", "serve"], cwd=folder, env=environment, stdout=log, stderr=log) as server,
        httpx2.Client(timeout=30) as http,
    ):
        try:
            _wait_until_up(server, f"{base}/metadata", http, folder / "log")
            yield Sekmet(base, folder / "client.pem", http)
        finally:
            server.terminate()


def _wait_until_up(server: subprocess.Popen[bytes], url: str, http: httpx2.Client, log: Path) -> None:
    deadline = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            if http.get(url).is_success:
                return
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


@dataclass
class Site:
    """A deployment whose settings name the server: `triage serve` as a process, tasks of the delivery worker here."""

    served: Served
    services: WorkerServices

    def collect(self) -> None:
        self.services.celery.tasks[TaskName.COLLECT]()

    def collect_until(self, is_done: Callable[[], object]) -> None:
        def attempt() -> object:
            self.collect()
            return is_done()

        eventually(attempt)

    def is_told(self) -> bool:
        return has_work(self.services.sessions, "hospital", searches=False)

    def query(self, sql: str) -> list[Any]:
        with self.services.sessions() as session:
            return list(session.execute(text(sql)))

    @property
    def messages(self) -> set[str]:
        return {row.external_id for row in self.query("SELECT external_id FROM message")}


@pytest.fixture
def site(serve: Callable[..., Any], sekmet: Sekmet) -> Iterator[Site]:
    variables = {"URL": sekmet.base, "SOURCE": "hospital", "CLIENT_ID": "triage", "KEY_FILE": str(sekmet.key_file)}
    with serve(**{f"FHIR__{name}": value for name, value in variables.items()}) as served:
        fhir = FhirSettings(
            url=sekmet.base,
            source="hospital",
            client_id="triage",
            key_file=sekmet.key_file,
            scopes=SCOPES,
            poll_query="Communication?category=notification",
            poll_seconds=1,
        )
        app = create_app(served.services.settings.model_copy(update={"fhir": fhir}))
        services = services_of(app)
        yield Site(served, services)
        services.close()


def _channel(site: Site, **more: Any) -> dict[str, Any]:
    endpoint = f"http://127.0.0.1:{site.served.port}/fhir-hook"
    return {"type": "rest-hook", "endpoint": endpoint, "header": [f"Authorization: Bearer {site.served.key}"], **more}


def test_message_told_by_a_classic_subscription_is_read_and_withdrawn(
    site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]
) -> None:
    site.collect()  # searches for the first time
    sekmet.subscribe({"criteria": "Communication?category=notification", "channel": _channel(site)})
    photo = jpeg(1)

    reference = sekmet.message(photo, language="es")
    site.collect_until(lambda: reference in site.messages)

    [row] = site.query("SELECT id, source, locale FROM message")
    assert (row.source, row.locale) == ("hospital", "es")
    with site.services.sessions() as session:
        assert origins.load(session, [row.id])[row.id] == Origin("Patient/p-1", "Patient/p-1")
    [stored] = site.query("SELECT sha256 FROM attachment")
    assert site.services.blobs.get(stored.sha256) == photo

    sekmet.change(reference, status="entered-in-error")
    site.collect_until(lambda: site.query("SELECT 1 FROM message WHERE opted_out"))
    assert check_fhir_server(site.services) == "serves 4.0.1 and gives tokens"
    assert check_arrivals(site.services) == "0 waiting"


def test_message_told_by_id_only_is_read(site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]) -> None:
    trigger = [
        {"url": "description", "valueMarkdown": "a message"},
        {"url": "resource", "valueUri": "http://hl7.org/fhir/StructureDefinition/Communication"},
        {"url": "supportedInteraction", "valueCode": "create"},
    ]
    sekmet.store(
        {
            "resourceType": "Basic",
            "id": "patient-message",
            "modifierExtension": [{"url": f"{R5}.status", "valueCode": "active"}],
            "extension": [
                {"url": f"{R5}.url", "valueUri": TOPIC},
                {"url": f"{R5}.title", "valueString": "patient message"},
                {"url": f"{R5}.resourceTrigger", "extension": trigger},
            ],
            "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
        }
    )
    content = {"extension": [{"url": f"{BACKPORT}/backport-payload-content", "valueCode": "id-only"}]}
    sekmet.subscribe(
        {
            "meta": {"profile": [f"{BACKPORT}/backport-subscription"]},
            "criteria": TOPIC,
            "channel": _channel(site, payload="application/fhir+json", _payload=content),
        }
    )

    reference = sekmet.message(jpeg(2))

    eventually(site.is_told)
    assert [row.reference for row in site.query("SELECT reference FROM arrival")] == [reference]
    site.collect_until(lambda: reference in site.messages)


def test_message_is_found_without_a_subscription_and_closes_a_request(
    site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]
) -> None:
    site.collect()
    first = sekmet.message(jpeg(3))
    site.collect_until(lambda: first in site.messages)
    request_id = _flag(site, first)
    request = sekmet.store(
        {
            "resourceType": "CommunicationRequest",
            "status": "active",
            "identifier": [{"system": REQUEST_ID, "value": request_id}],
        }
    )

    second = sekmet.message(jpeg(4), basedOn=[{"reference": request}])
    site.collect_until(lambda: second in site.messages)

    [row] = site.query("SELECT answered_at, status FROM retake_request")
    assert row.answered_at is not None
    assert row.status == "withdrawn"


def _flag(site: Site, message: str) -> str:
    """Flags a retake request for a message, as a decision does; returns its id."""
    decision, request = new_id(), new_id()
    given = {"decision": decision, "request": request, "message": message}
    with site.services.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO decision (id, message_id, outcome, reason, decided_by) "
                "SELECT :decision, id, 'retake', 'no_photo_passed', 'model' FROM message WHERE external_id = :message"
            ),
            given,
        )
        session.execute(
            text(
                "INSERT INTO retake_request (id, message_id, thread_id, decision_id, status) "
                "SELECT :request, id, thread_id, :decision, 'flagged' FROM message WHERE external_id = :message"
            ),
            given,
        )
    return str(request)
