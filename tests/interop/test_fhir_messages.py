"""Messages are read on a FHIR server that others wrote, which tells of them by both kinds of subscription.

sekmet-fhir has its own token server, enforces scopes, and refuses an assertion that it has seen.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.interop.sekmet import Sekmet, serve_sekmet
from tests.support.deployment import eventually
from tests.support.flagged import flag
from tests.support.served import Served
from triage.arrivals.announce import has_work
from triage.domain.messages import Origin
from triage.storage import origins
from worker.app import create_app
from worker.doctor.systems import check_arrivals, check_fhir_server
from worker.fhir.reading.subscription import Change, Subscribed, find, subscribe
from worker.fhir.terms import REQUEST_ID
from worker.queues import TaskName
from worker.settings import FhirSettings
from worker.tasks.base import WorkerServices, services_of

pytestmark = pytest.mark.long

SCOPES = (
    "system/Communication.read system/Binary.read system/DocumentReference.read system/Media.read "
    "system/CommunicationRequest.read system/Subscription.cruds"
)
NOTIFICATION = [
    {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/communication-category", "code": "notification"}]}
]
TOPIC = "https://triage.example/SubscriptionTopic/patient-message"
BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
R5 = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sekmet]:
    notifying = {"notify_method": "post-endpoint"}
    with serve_sekmet(tmp_path_factory.mktemp("sekmet"), scopes=SCOPES, subscriptions=notifying) as server:
        yield server


def _message(sekmet: Sekmet, photo: bytes, **fields: Any) -> str:
    """Stores a patient's message with a photo in a Binary."""
    encoded = base64.b64encode(photo).decode()
    binary = sekmet.store({"resourceType": "Binary", "contentType": "image/jpeg", "data": encoded})
    patient = {"reference": sekmet.store({"resourceType": "Patient", "id": "p-1"})}
    message = {
        "resourceType": "Communication",
        "status": "completed",
        "category": NOTIFICATION,
        "subject": patient,
        "sender": patient,
        "payload": [{"contentString": "it itches"}, {"contentReference": {"reference": binary}}],
    }
    return sekmet.store(message | fields)


def _subscribe(sekmet: Sekmet, subscription: dict[str, Any]) -> None:
    stored = sekmet.store({"resourceType": "Subscription", "status": "requested", "reason": "photos"} | subscription)
    eventually(lambda: sekmet.find(stored)["status"] == "active")


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
def site(serve: Callable[..., Any], sekmet: Sekmet, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Its search can be given as a parameter."""
    search = {"poll_query": "Communication?category=notification"} | getattr(request, "param", {})
    variables = {"URL": sekmet.base, "SOURCE": "hospital", "CLIENT_ID": "triage", "KEY_FILE": str(sekmet.key_file)}
    with serve(**{f"FHIR__{name}": value for name, value in variables.items()}) as served:
        fhir = FhirSettings(
            url=sekmet.base,
            source="hospital",
            client_id="triage",
            key_file=sekmet.key_file,
            scopes=SCOPES,
            poll_seconds=1,
            **search,
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
    _subscribe(sekmet, {"criteria": "Communication?category=notification", "channel": _channel(site)})
    photo = jpeg(1)

    reference = _message(sekmet, photo, language="es")
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
    _subscribe(
        sekmet,
        {
            "meta": {"profile": [f"{BACKPORT}/backport-subscription"]},
            "criteria": TOPIC,
            "channel": _channel(site, payload="application/fhir+json", _payload=content),
        },
    )

    reference = _message(sekmet, jpeg(2))

    eventually(site.is_told)
    assert [row.reference for row in site.query("SELECT reference FROM arrival")] == [reference]
    site.collect_until(lambda: reference in site.messages)


def test_message_is_found_without_a_subscription_and_closes_a_request(
    site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]
) -> None:
    site.collect()
    first = _message(sekmet, jpeg(3))
    site.collect_until(lambda: first in site.messages)
    request_id = str(flag(site.services.sessions, first))
    request = sekmet.store(
        {
            "resourceType": "CommunicationRequest",
            "status": "active",
            "identifier": [{"system": REQUEST_ID, "value": request_id}],
        }
    )

    second = _message(sekmet, jpeg(4), basedOn=[{"reference": request}])
    site.collect_until(lambda: second in site.messages)

    [row] = site.query("SELECT answered_at, status FROM retake_request")
    assert row.answered_at is not None
    assert row.status == "withdrawn"


ORACLE = {
    "poll_query": "Communication?category=notification&recipient:Group=oracle&-email-status=sent",
    "poll_cursor": "received",
}
"""The recipe for Oracle Health. This server ignores `-email-status`, which it does not know."""


@pytest.mark.parametrize("site", [ORACLE], indirect=True)
def test_message_of_a_group_is_found_by_the_time_of_its_receipt(
    site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]
) -> None:
    ours = [{"reference": sekmet.store({"resourceType": "Group", "id": "oracle", "type": "person", "actual": True})}]
    other = [{"reference": sekmet.store({"resourceType": "Group", "id": "other", "type": "person", "actual": True})}]
    site.collect()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    unseen = [
        _message(sekmet, jpeg(5), recipient=ours),
        _message(sekmet, jpeg(6), recipient=ours, received="2026-01-01T00:00:00Z"),
        _message(sekmet, jpeg(7), recipient=other, received=now),
    ]

    found = _message(sekmet, jpeg(8), recipient=ours, received=now)
    site.collect_until(lambda: found in site.messages)

    assert not site.messages & set(unseen)


def test_subscription_is_created_and_renewed_when_the_server_has_switched_it_off(
    site: Site, sekmet: Sekmet, jpeg: Callable[..., bytes]
) -> None:
    hook = {"hook_url": _channel(site)["endpoint"], "hook_key": SecretStr(site.served.key)}
    fhir, client = site.services.settings.fhir.model_copy(update=hook), site.services.fhir

    assert subscribe(client, fhir).change is Change.CREATED
    eventually(lambda: find(client, fhir).status == "active")
    assert subscribe(client, fhir).change is Change.NONE
    for entry in sekmet.find("Subscription?_count=1000")["entry"]:
        if entry["resource"]["channel"]["endpoint"] == fhir.hook_url:
            sekmet.change(f"Subscription/{entry['resource']['id']}", status="off")
    assert subscribe(client, fhir) == Subscribed("off", Change.RENEWED)
    eventually(lambda: find(client, fhir).status == "active")

    reference = _message(sekmet, jpeg(6))
    site.collect_until(lambda: reference in site.messages)
