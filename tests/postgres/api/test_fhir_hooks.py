"""Hooks of a FHIR server: whatever arrives, nothing but a read follows."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.support.services import make_settings
from triage.arrivals import announce as announcing
from triage.clients import registration
from triage.domain.scopes import Scope
from triage.storage import arrivals
from triage.storage.database import Sessions
from worker.api.app import create_app
from worker.settings import FhirSettings, Settings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices

Headers = dict[str, str]
BASE = "https://ehr.example/fhir"
MESSAGE = {"resourceType": "Communication", "id": "1", "status": "entered-in-error", "meta": {"versionId": "9"}}


@pytest.fixture
def settings(embedded: StateFolder, database: str, tmp_path: Path) -> Settings:
    fhir = FhirSettings(
        url=BASE, source="hospital", client_id="triage", key_file=tmp_path / "key.pem", poll_query="Communication"
    )
    return make_settings(embedded, database, tmp_path).model_copy(update={"fhir": fhir})


@pytest.fixture
def hook(as_client: Callable[..., Headers]) -> Headers:
    return as_client(Scope.FHIR_NOTIFY, name="ehr-hook")


@pytest.fixture
def announced(sessions: Sessions) -> Callable[[], list[tuple[str, str, str | None, int]]]:
    def read() -> list[tuple[str, str, str | None, int]]:
        with sessions() as session:
            rows = session.execute(text("SELECT source, reference, version, announced FROM arrival ORDER BY reference"))
            return [tuple(row) for row in rows]

    return read


def _post(api: TestClient, hook: Headers, body: Any = None, kind: str = "application/fhir+json") -> int:
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.post("/fhir-hook", headers=hook | {"Content-Type": kind}, content=content).status_code


def _bundle(kind: str, *ids: str) -> dict[str, Any]:
    events = [
        {
            "name": "notification-event",
            "part": [{"name": "focus", "valueReference": {"reference": f"Communication/{id_}"}}],
        }
        for id_ in ids
    ]
    status = {"resourceType": "Parameters", "parameter": [{"name": "type", "valueCode": kind}, *events]}
    return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}


def test_client_that_is_limited_to_another_source_notifies_of_nothing(
    api: TestClient, services: WorkerServices, announced: Callable[[], list[Any]]
) -> None:
    made = registration.add(services.sessions, "other", [Scope.FHIR_NOTIFY], by="admin", sources=["other"])

    assert _post(api, {"Authorization": f"Bearer {made.key}"}, MESSAGE) == 403
    assert announced() == []


def test_only_the_reference_of_a_resource_is_stored(
    api: TestClient, hook: Headers, announced: Callable[[], list[Any]]
) -> None:
    assert _post(api, hook, MESSAGE) == 200
    assert api.put("/fhir-hook/Communication/2", headers=hook, json=MESSAGE).status_code == 200

    assert announced() == [("hospital", "Communication/1", None, 1), ("hospital", "Communication/2", None, 1)]


def test_bundle_announces_its_messages_in_any_order_and_number(
    api: TestClient, hook: Headers, announced: Callable[[], list[Any]]
) -> None:
    for bundle in (
        _bundle("event-notification", "3", "1"),
        _bundle("handshake"),
        _bundle("event-notification", "1"),
        _bundle("event-notification", "3", "1"),
        _bundle("heartbeat"),
    ):
        assert _post(api, hook, bundle) == 200

    assert [row[1] for row in announced()] == ["Communication/1", "Communication/3"]


@pytest.mark.parametrize("body", [None, _bundle("event-notification")])
def test_search_is_due_when_a_notification_names_no_message(
    api: TestClient, hook: Headers, services: WorkerServices, sessions: Sessions, body: Any
) -> None:
    def is_due() -> bool:
        return announcing.has_work(sessions, "hospital", searches=True)

    with sessions.begin() as session:
        search = arrivals.claim_search(session, "hospital", lease=services.settings.lease)
        assert search is not None
        arrivals.record_search(session, search, complete=True, again_in=services.settings.lease)
    assert not is_due()
    _post(api, hook, _bundle("heartbeat"))
    assert not is_due()

    assert _post(api, hook, body) == 200

    assert is_due()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<Communication/>", "application/fhir+xml", 415),
        (b"{", "application/fhir+json", 400),
        (b"[]", "application/json", 400),
        (b'{"entry": [' + b"{}," * 200_001 + b"{}]}", "application/json", 413),
        (b"[" * 100_000, "application/json", 400),
        ({"resourceType": "Patient", "id": "1"}, "application/fhir+json; charset=utf-8", 200),
        (_bundle("event-notification", *map(str, range(10_001))), "application/json", 400),
    ],
)
def test_nothing_is_stored_of_what_names_no_message(
    api: TestClient, hook: Headers, announced: Callable[[], list[Any]], body: Any, kind: str, status: int
) -> None:
    assert _post(api, hook, body, kind) == status
    assert announced() == []


@pytest.mark.parametrize("reference", ["Patient/1", "Communication", "Communication/1/2", "Communication/%0a"])
def test_nothing_is_stored_of_another_resource(
    api: TestClient, hook: Headers, announced: Callable[[], list[Any]], reference: str
) -> None:
    assert api.put(f"/fhir-hook/{reference}", headers=hook).status_code == 200
    assert announced() == []


def test_forged_notification_is_refused(
    api: TestClient, as_client: Callable[..., Headers], announced: Callable[[], list[Any]]
) -> None:
    narrow = as_client(*(scope for scope in Scope if scope is not Scope.FHIR_NOTIFY), name="other")
    for headers, status in (({}, 401), ({"Authorization": "Bearer s3cret"}, 401), (narrow, 403)):
        assert _post(api, headers, MESSAGE) == status
        assert api.put("/fhir-hook/Communication/1", headers=headers).status_code == status
    assert announced() == []


def test_body_is_parsed_in_a_thread_of_its_request(
    api: TestClient, hook: Headers, as_client: Callable[..., Headers], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long body must not delay other requests, which the thread of the event loop serves."""
    in_loop: list[bool] = []

    def watched(body: bytes, **options: Any) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            in_loop.append(True)
            return loads(body, **options)
        in_loop.append(False)
        return loads(body, **options)

    loads = json.loads
    engine = as_client(Scope.FHIR_CREATE, name="engine") | {"Content-Type": "application/fhir+json"}
    message = json.dumps(MESSAGE)
    monkeypatch.setattr(json, "loads", watched)

    _post(api, hook, MESSAGE)
    api.post("/fhir/Communication", headers=engine, content=message)
    api.post("/fhir", headers=engine, content=message)

    assert in_loop == [False] * 3


def test_notification_is_not_acknowledged_when_it_cannot_be_stored(
    api: TestClient, hook: Headers, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("REVOKE INSERT (reference) ON arrival FROM triage_worker"))

    assert _post(api, hook, MESSAGE) == 503


def test_hooks_are_unknown_without_a_server(
    embedded: StateFolder, database: str, tmp_path: Path, hook: Headers
) -> None:
    with WorkerServices(make_settings(embedded, database, tmp_path)) as bare, TestClient(create_app(bare, "")) as api:
        assert _post(api, hook, MESSAGE) == 404
        assert api.put("/fhir-hook/Communication/1", headers=hook).status_code == 404


def test_missed_event_makes_a_search_due(api: TestClient, hook: Headers, sessions: Sessions) -> None:
    def notify(number: int) -> bool:
        """Whether a search is due after an event, when the last one has ended."""
        with sessions.begin() as session:
            session.execute(text("UPDATE arrival_source SET due_at = now() + interval '1 hour'"))
        bundle = _bundle("event-notification", str(number))
        parameters = bundle["entry"][0]["resource"]["parameter"]
        parameters += [
            {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/1"}},
            {"name": "events-since-subscription-start", "valueString": str(number)},
        ]
        assert _post(api, hook, bundle) == 200
        with sessions() as session:
            return arrivals.is_search_due(session, "hospital")

    with sessions.begin() as session:
        arrivals.claim_search(session, "hospital", lease=timedelta(0))
        session.execute(text("UPDATE arrival_source SET lease_token = NULL"))

    assert [notify(1), notify(2), notify(4), notify(5)] == [False, False, True, False]
