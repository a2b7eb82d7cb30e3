"""Who is let in: endpoints without, with wrong and with too narrow credentials; keys that are rotated or revoked."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from triage.clients import registration
from triage.domain.scopes import Scope
from triage.errors import UsageError
from triage.storage.database import Sessions
from worker.api.endpoint import Endpoint
from worker.api.subjects import SUBJECTS
from worker.tasks.base import WorkerServices

Headers = dict[str, str]
PROTECTED = [each for subject in SUBJECTS for each in subject.declared if each.scope is not None]


def ask(api: TestClient, endpoint: Endpoint, headers: Headers) -> tuple[int, str, Headers]:
    path = endpoint.path.format_map({name: uuid4() for name in endpoint.parts})
    response = api.request(endpoint.method, path, headers=headers)
    document = response.json()
    if endpoint.path.split("/")[1] == "fhir":
        assert response.headers["content-type"] == "application/fhir+json"
        return response.status_code, document["issue"][0]["details"]["coding"][0]["code"], dict(response.headers)
    assert response.headers["content-type"] == "application/problem+json"
    assert document["status"] == response.status_code
    return response.status_code, document["code"], dict(response.headers)


@pytest.mark.parametrize("endpoint", PROTECTED, ids=lambda endpoint: endpoint.name)
def test_endpoint_refuses_a_caller_without_its_scope(
    endpoint: Endpoint, api: TestClient, as_client: Callable[..., Headers]
) -> None:
    right = as_client()["Authorization"]
    for wrong in (
        {},
        {"Authorization": "Basic ZWhyOmVocg=="},
        {"Authorization": "Bearer"},
        {"Authorization": right[:-1]},
    ):
        status, code, headers = ask(api, endpoint, wrong)
        assert (status, code) == (401, "unauthenticated")
        assert headers["www-authenticate"].startswith("Bearer")

    narrow = as_client(*(scope for scope in Scope if scope is not endpoint.scope), name="narrow")
    status, code, headers = ask(api, endpoint, narrow)
    assert (status, code) == (403, "forbidden")
    assert str(endpoint.scope) in headers["www-authenticate"]


def test_probes_need_no_key(api: TestClient) -> None:
    assert api.get("/livez").json() == {"status": "alive"}
    assert api.get("/readyz").json() == {"status": "ready"}


def test_unknown_path_and_method_are_problems(api: TestClient) -> None:
    assert (api.get("/v2").status_code, api.get("/v2").json()["code"]) == (404, "not_found")
    evil = api.get("/livez/", headers={"Host": "evil.example.org"}, follow_redirects=False)
    assert (evil.status_code, evil.json()["code"]) == (404, "not_found")
    answer = api.delete("/v1/retakes")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_both_keys_are_accepted_until_the_overlap_of_a_rotation_ends(
    api: TestClient, as_client: Callable[..., Headers], services: WorkerServices, sessions: Sessions
) -> None:
    first = as_client()

    rotated = registration.rotate(services.sessions, "ehr", by="admin", overlap=timedelta(hours=1))

    second = {"Authorization": f"Bearer {rotated.key}"}
    assert [api.get("/v1/retakes", headers=each).status_code for each in (first, second)] == [200, 200]
    with sessions.begin() as session:
        session.execute(text("UPDATE api_client SET previous_key_until = previous_key_until - interval '2 hours'"))
    assert [api.get("/v1/retakes", headers=each).status_code for each in (first, second)] == [401, 200]


def test_rotation_without_overlap_ends_the_previous_key(
    api: TestClient, as_client: Callable[..., Headers], services: WorkerServices
) -> None:
    first = as_client()
    registration.rotate(services.sessions, "ehr", by="admin", overlap=timedelta(0))

    assert api.get("/v1/retakes", headers=first).status_code == 401


def test_revoked_client_is_refused_and_stays_revoked(
    api: TestClient, as_client: Callable[..., Headers], services: WorkerServices
) -> None:
    key = as_client()
    revoked = registration.revoke(services.sessions, "ehr", by="admin")

    assert revoked.revoked_at is not None
    assert registration.revoke(services.sessions, "ehr", by="admin") == revoked
    assert api.get("/v1/retakes", headers=key).status_code == 401
    with pytest.raises(UsageError, match="revoked"):
        registration.rotate(services.sessions, "ehr", by="admin", overlap=timedelta(0))
    with pytest.raises(UsageError, match="has this name"):
        registration.add(services.sessions, "ehr", [Scope.MESSAGES_READ], by="admin")


def test_keys_are_stored_as_hashes_and_every_change_is_audited(
    as_client: Callable[..., Headers], services: WorkerServices, sessions: Sessions
) -> None:
    key = as_client(Scope.MESSAGES_READ)["Authorization"].removeprefix("Bearer ")
    registration.rotate(services.sessions, "ehr", by="admin-2", overlap=timedelta(hours=1))
    registration.revoke(services.sessions, "ehr", by="admin-3")

    with sessions() as session:
        stored = session.execute(text("SELECT row_to_json(api_client)::text FROM api_client")).scalar_one()
        events = session.execute(
            text("SELECT actor, action, details::text FROM audit_event WHERE subject_kind = 'client' ORDER BY position")
        ).all()
    assert key not in stored
    assert [(event.actor, event.action) for event in events] == [
        ("admin", "client.added"),
        ("admin-2", "client.rotated"),
        ("admin-3", "client.revoked"),
    ]
    assert not [event for event in events if key in event.details]


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "1 to 10 public keys"),
        ({"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]}, "RSA or EC"),
        ({"keys": [{"kty": "EC", "kid": "a", "d": "secret"}]}, "private key"),
        ({"keys": [{"kty": "RSA", "kid": "a", "n": "AQAB" * 100, "e": "AQAB", "p": "secret"}]}, "private key"),
        ({"keys": [{"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}]}, "2048 bits"),
        ({"keys": [{"kty": "EC", "kid": "a", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}, "P-384"),
        ({"keys": [{"kty": "EC", "kid": "a", "crv": "P-384", "x": "AQAB"}]}, "P-384"),
        ({"keys": [{"kty": []}]}, "RSA or EC"),
        ({"keys": [{"kty": "EC"}]}, "`kid`"),
    ],
)
def test_key_set_is_refused_when_it_is_unsuitable(
    keys: dict[str, object], error: str, services: WorkerServices
) -> None:
    with pytest.raises(UsageError, match=error) as raised:
        registration.add(services.sessions, "ehr", [Scope.MESSAGES_READ], by="admin", jwks=keys)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://example.org/jwks", "file:///etc/passwd", "https://user@example.org/", "https://"]
)
def test_url_of_a_key_set_is_refused_when_it_is_unsafe(url: str, services: WorkerServices) -> None:
    with pytest.raises(UsageError, match="invalid URL"):
        registration.add(services.sessions, "ehr", [Scope.MESSAGES_READ], by="admin", jwks_url=url)
