"""This product's subscription on a server: one, and requested again when the server has switched it off."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from worker.fhir.reading.subscription import Change, Subscribed, find, subscribe
from worker.fhir.server.bodies import JSON
from worker.fhir.server.client import Anonymous, FhirClient
from worker.setting_groups import FhirSettings

HOOK = "https://triage.example.org/fhir-hook"


class Hospital:
    """Stores subscriptions; as some servers do, it ignores the search parameter."""

    def __init__(self, httpserver: HTTPServer) -> None:
        self.stored: list[dict[str, Any]] = []
        self.conditions: list[str] = []
        httpserver.expect_request("/fhir/Subscription", method="GET").respond_with_handler(self._search)
        httpserver.expect_request("/fhir/Subscription", method="POST").respond_with_handler(self._create)
        httpserver.expect_request("/fhir/Subscription/0", method="PUT").respond_with_handler(self._update)

    def _search(self, _: Request) -> Response:
        entries = [{"resource": each} for each in self.stored]
        return Response(json.dumps({"resourceType": "Bundle", "entry": entries}), content_type=JSON)

    def _create(self, request: Request) -> Response:
        self.conditions.append(request.headers["If-None-Exist"])
        self.stored.append(request.get_json(force=True) | {"id": str(len(self.stored))})
        return Response(json.dumps(self.stored[-1]), 201, content_type=JSON)

    def _update(self, request: Request) -> Response:
        self.stored[0] = request.get_json(force=True)
        return Response(json.dumps(self.stored[0]), content_type=JSON)


@pytest.fixture
def hospital(httpserver: HTTPServer) -> Hospital:
    return Hospital(httpserver)


@pytest.fixture
def client(httpserver: HTTPServer) -> Iterator[FhirClient]:
    with httpx2.Client(timeout=5, follow_redirects=False) as http:
        yield FhirClient(http, httpserver.url_for("/fhir"), Anonymous())


def _settings(**changes: Any) -> FhirSettings:
    return FhirSettings(
        url="https://ehr.example/fhir",
        client_id="triage",
        key_file=Path("key.pem"),
        hook_url=HOOK,
        hook_key=SecretStr("a-key"),
        **changes,
    )


def test_subscription_is_created_once(client: FhirClient, hospital: Hospital) -> None:
    settings = _settings(poll_query="Communication?category=notification")

    first, second = subscribe(client, settings), subscribe(client, settings)

    assert (first, second) == (Subscribed(None, Change.CREATED), Subscribed("requested"))
    [stored] = hospital.stored
    assert (stored["criteria"], stored["channel"]["endpoint"]) == ("Communication?category=notification", HOOK)
    assert stored["channel"]["header"] == ["Authorization: Bearer a-key"]
    assert "payload" not in stored["channel"]
    assert hospital.conditions == [f"url={HOOK}"]


def test_subscription_by_topic_notifies_by_id_only(client: FhirClient, hospital: Hospital) -> None:
    subscribe(client, _settings(hook_topic="https://ehr.example/topic"))

    [stored] = hospital.stored
    assert stored["criteria"] == "https://ehr.example/topic"
    [content] = stored["channel"]["_payload"]["extension"]
    assert content["valueCode"] == "id-only"


@pytest.mark.parametrize("status", ["off", "error"])
def test_subscription_is_renewed_when_the_server_switched_it_off(
    client: FhirClient, hospital: Hospital, status: str
) -> None:
    subscribe(client, _settings())
    hospital.stored[0] |= {"status": status, "error": "unreachable"}

    assert find(client, _settings()) == Subscribed(status)
    assert subscribe(client, _settings()) == Subscribed(status, Change.RENEWED)

    [stored] = hospital.stored
    assert stored["status"] == "requested"
    assert "error" not in stored


def test_subscriptions_of_others_are_left_alone(client: FhirClient, hospital: Hospital) -> None:
    other = {"id": "0", "status": "off", "channel": {"type": "rest-hook", "endpoint": "https://other.example"}}
    hospital.stored = [other, {"id": "1", "status": "off"}]

    assert find(client, _settings()) == Subscribed(None)
    assert subscribe(client, _settings()).change is Change.CREATED

    assert hospital.stored[0] is other


def test_changed_settings_are_written_when_asked_for(client: FhirClient, hospital: Hospital) -> None:
    subscribe(client, _settings())
    hospital.stored[0]["status"] = "active"

    changed = subscribe(client, _settings(poll_query="Communication?category=x"), rewrites=True)

    assert changed == Subscribed("active", Change.UPDATED)
    assert hospital.stored[0]["criteria"] == "Communication?category=x"
