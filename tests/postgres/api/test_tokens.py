"""Tokens of an identity provider, and access tokens of this server for signed assertions."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import text
from starlette.testclient import TestClient

from tests.support.deployment import eventually
from tests.support.issuer import Issuer
from triage.clients import registration
from triage.domain.scopes import Scope
from triage.storage.database import Sessions
from worker.api import published_keys
from worker.api.app import create_app
from worker.settings import ApiSettings, Settings
from worker.tasks.base import WorkerServices

TOKEN_URL = "http://testserver/auth/token"
ISSUER = "https://idp.example.org/realms/hospital"
AUDIENCE = "triage"


def sign(key: ECKey | RSAKey, claims: dict[str, Any], algorithm: str = "ES384", **header: Any) -> str:
    kid = {"kid": key.kid} if key.kid else {}
    return jwt.encode({"alg": algorithm, **kid, **header}, claims, key, algorithms=[algorithm])


@pytest.fixture
def provider_api(settings: Settings, issuer: Issuer) -> Iterator[TestClient]:
    api = ApiSettings(issuer=ISSUER, audience=AUDIENCE, jwks_url=issuer.url)
    with (
        WorkerServices(settings.model_copy(update={"api": api})) as services,
        TestClient(create_app(services, "http://testserver"), raise_server_exceptions=False) as client,
    ):
        yield client


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": now + 300,
        "iat": now,
        "client_id": "portal",
        "scope": "retakes.read source:* x",
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def status_of(api: TestClient, token: str, path: str = "/v1/retakes") -> int:
    return api.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_token_of_the_identity_provider_is_accepted_with_its_scopes(provider_api: TestClient, issuer: Issuer) -> None:
    token = sign(issuer.keys[0], claims())

    assert status_of(provider_api, token) == 200
    assert status_of(provider_api, token, "/v1/decisions") == 403
    assert (
        status_of(
            provider_api, sign(issuer.keys[0], claims(scope=None, scp=["decisions.read", "source:*"])), "/v1/decisions"
        )
        == 200
    )
    assert status_of(provider_api, sign(issuer.keys[0], claims(aud=["other", AUDIENCE]))) == 200
    assert issuer.reads == 1


def test_token_of_the_identity_provider_is_limited_to_its_sources(provider_api: TestClient, issuer: Issuer) -> None:
    scopes = "messages.read reports.read"
    free, limited, without = (
        {"Authorization": f"Bearer {sign(issuer.keys[0], claims(scope=scopes, roles=roles))}"}
        for roles in (["source:*"], ["source:portal", "source:app", 7], [])
    )

    def status(path: str, headers: dict[str, str]) -> int:
        return provider_api.get(path, headers=headers).status_code

    paths = ["/v1/messages/ehr/m-1", "/v1/messages/portal/m-1", "/v1/messages/app/m-1", "/v1/report"]
    assert [status(path, free) for path in paths] == [404, 404, 404, 200]
    assert [status(path, limited) for path in paths] == [403, 404, 404, 403]
    assert [status(path, without) for path in paths] == [403] * 4


def test_token_acts_under_a_name_of_its_own(provider_api: TestClient, issuer: Issuer, sessions: Sessions) -> None:
    """A token for `ehr` is not the registered client `ehr`."""
    token = sign(issuer.keys[0], claims(client_id="ehr", scope="messages.write source:ehr"))
    body = {"source": "ehr", "thread": "t-1"}
    provider_api.post("/v1/threads/opt-out", json=body, headers={"Authorization": f"Bearer {token}"})

    with sessions() as session:
        assert session.execute(text("SELECT actor FROM audit_event")).scalar_one() == "idp:ehr"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"nbf": 2**31 * 2},
        {"client_id": "a b"},
        {"client_id": "x" * 100},
        {"client_id": None},
        {"client_id": 7},
    ],
    ids=str,
)
def test_token_is_refused_when_a_claim_is_wrong(
    changes: dict[str, Any], provider_api: TestClient, issuer: Issuer
) -> None:
    assert status_of(provider_api, sign(issuer.keys[0], claims(**changes))) == 401


def signed_with_the_public_key(key: ECKey | RSAKey) -> str:
    """A token whose algorithm takes the public key for a shared secret."""
    head, body, _ = sign(key, claims()).split(".")
    head = urlsafe_b64encode(b'{"alg":"HS256","kid":"k1"}').decode().rstrip("=")
    mac = hmac.digest(key.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


def test_token_is_refused_when_its_signature_is_wrong(provider_api: TestClient, issuer: Issuer) -> None:
    stranger = ECKey.generate_key("P-384", {"kid": "k1"})
    valid = sign(issuer.keys[0], claims())
    head, body, signature = valid.split(".")
    for token in (
        sign(stranger, claims()),
        signed_with_the_public_key(issuer.keys[0]),
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        "eyJhbGciOiJub25lIn0.e30.",
        "..",
        "a.b.c",
    ):
        assert status_of(provider_api, token) == 401, token


def test_new_key_of_the_provider_is_found_and_an_outage_is_survived(
    provider_api: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_keys, "_PAUSE_SECONDS", 0.0)
    assert status_of(provider_api, sign(issuer.keys[0], claims())) == 200
    issuer.keys.append(RSAKey.generate_key(2048, {"kid": "k2"}))
    assert status_of(provider_api, sign(issuer.keys[1], claims(), "RS256")) == 200

    issuer.status = 500
    monkeypatch.setattr(published_keys, "_KEEP_SECONDS", 0.0)

    assert status_of(provider_api, sign(issuer.keys[1], claims(), "RS256")) == 200


def test_token_is_answered_with_retry_when_the_keys_cannot_be_read(provider_api: TestClient, issuer: Issuer) -> None:
    issuer.status = 500

    answer = provider_api.get("/v1/retakes", headers={"Authorization": f"Bearer {sign(issuer.keys[0], claims())}"})

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "retry-after" in answer.headers


def test_unknown_keys_do_not_flood_the_provider(provider_api: TestClient, issuer: Issuer) -> None:
    for number in range(20):
        stranger = ECKey.generate_key("P-384", {"kid": f"x{number}"})
        assert status_of(provider_api, sign(stranger, claims())) == 401
    assert issuer.reads <= 2


def test_first_requests_wait_together_for_the_keys(provider_api: TestClient, issuer: Issuer) -> None:
    token = sign(issuer.keys[0], claims())
    with ThreadPoolExecutor() as pool:
        with issuer.hanging():
            first = pool.submit(status_of, provider_api, token)
            eventually(lambda: issuer.reads)
            second = pool.submit(status_of, provider_api, token)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
        assert (first.result(), second.result()) == (200, 200)


def test_known_keys_do_not_wait_for_an_issuer_that_is_asked_for_unknown_ones(
    provider_api: TestClient, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published_keys, "_PAUSE_SECONDS", 0.0)
    assert status_of(provider_api, sign(issuer.keys[0], claims())) == 200
    reads = issuer.reads
    stranger = sign(ECKey.generate_key("P-384", {"kid": "x"}), claims())

    with issuer.hanging(), ThreadPoolExecutor() as pool:
        refused = pool.submit(status_of, provider_api, stranger)
        eventually(lambda: issuer.reads > reads)
        assert status_of(provider_api, sign(issuer.keys[0], claims())) == 200
        assert not refused.done()
    assert refused.result() == 401


@cache
def key_pair(algorithm: str) -> ECKey | RSAKey:
    """The same for all tests: to make an RSA key takes a part of a second."""
    if algorithm == "ES384":
        return ECKey.generate_key("P-384", {"kid": "b1"})
    return RSAKey.generate_key(2048, {"kid": "b1"})


@pytest.fixture(params=["ES384", "RS384"])
def key(request: pytest.FixtureRequest, services: WorkerServices) -> ECKey | RSAKey:
    """The key pair of the client `backend`."""
    made = key_pair(request.param)
    registration.add(
        services.sessions,
        "backend",
        [Scope.RETAKES_READ, Scope.RETAKES_WRITE],
        by="admin",
        jwks={"keys": [made.as_dict(private=False)]},
    )
    return made


def algorithm_of(key: ECKey | RSAKey) -> str:
    return "ES384" if isinstance(key, ECKey) else "RS384"


def assertion(key: ECKey | RSAKey, *, algorithm: str | None = None, kid: str | None = None, **changes: Any) -> str:
    made = {"iss": "backend", "sub": "backend", "aud": TOKEN_URL, "exp": int(time.time()) + 240, "jti": str(uuid4())}
    given = {name: value for name, value in (made | changes).items() if value is not None}
    header = {"typ": "JWT"} | ({"kid": kid} if kid else {})
    return sign(key, given, algorithm or algorithm_of(key), **header)


def ask(api: TestClient, assertion: str, **changes: str) -> Any:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    return api.post("/auth/token", data={name: value for name, value in (form | changes).items() if value})


def test_assertion_gets_a_token_that_works_for_its_scopes(api: TestClient, key: ECKey | RSAKey) -> None:
    configuration = api.get("/.well-known/smart-configuration").json()
    assert configuration["token_endpoint"] == TOKEN_URL

    answer = ask(api, assertion(key), scope="retakes.read reports.read system/Patient.rs")

    document = answer.json()
    assert (answer.status_code, document["expires_in"], document["scope"]) == (200, 300, "retakes.read")
    assert answer.headers["cache-control"] == "no-store"
    assert status_of(api, document["access_token"]) == 200
    assert (
        api.post(
            "/v1/retakes/claim", json={}, headers={"Authorization": f"Bearer {document['access_token']}"}
        ).status_code
        == 403
    )
    assert ask(api, assertion(key)).json()["scope"] == "retakes.read retakes.write"


def test_assertion_is_refused_when_it_is_replayed(api: TestClient, key: ECKey | RSAKey) -> None:
    signed = assertion(key)

    answers = [ask(api, signed) for _ in range(2)]

    assert [each.status_code for each in answers] == [200, 401]
    assert answers[1].json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "other"},
        {"sub": "other"},
        {"sub": None},
        {"aud": "http://other/auth/token"},
        {"aud": None},
        {"exp": 1},
        {"exp": 4_000_000_000},
        {"exp": None},
        {"exp": "x"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"kid": "b2"},
        {"iss": "a b", "sub": "a b"},
    ],
    ids=str,
)
def test_assertion_is_refused_when_a_claim_is_wrong(
    changes: dict[str, Any], api: TestClient, key: ECKey | RSAKey
) -> None:
    answer = ask(api, assertion(key, **changes))

    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_assertion_is_refused_when_its_signature_is_wrong(api: TestClient, key: ECKey | RSAKey) -> None:
    stranger = ECKey.generate_key("P-384", {"kid": "b1"})
    for signed in (
        assertion(stranger, algorithm="ES384"),
        assertion(key)[:-8],
        "a.b.c",
        "x",
        "..",
        "eyJhbGciOiJub25lIn0.e30.",
    ):
        assert ask(api, signed).status_code == 401


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": ""}, "invalid_request"),
        ({"client_assertion_type": "x"}, "invalid_request"),
        ({"client_assertion": ""}, "invalid_request"),
        ({"scope": "reports.read"}, "invalid_scope"),
        ({"scope": "system/Patient.rs"}, "invalid_scope"),
    ],
)
def test_request_for_a_token_is_refused_when_it_is_wrong(
    changes: dict[str, str], error: str, api: TestClient, key: ECKey | RSAKey
) -> None:
    answer = ask(api, assertion(key), **changes)

    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_token_ends_with_its_time_and_with_its_client(
    api: TestClient, key: ECKey | RSAKey, services: WorkerServices, sessions: Sessions
) -> None:
    first, second = (ask(api, assertion(key)).json()["access_token"] for _ in range(2))
    with sessions.begin() as session:
        session.execute(
            text("UPDATE api_token SET valid_until = now() WHERE sha256 = encode(sha256(:token), 'hex')"),
            {"token": first.encode()},
        )
    assert [status_of(api, each) for each in (first, second)] == [401, 200]

    registration.revoke(services.sessions, "backend", by="admin")

    assert status_of(api, second) == 401
    assert ask(api, assertion(key)).status_code == 401


def test_client_that_publishes_its_keys_gets_a_token(api: TestClient, issuer: Issuer, services: WorkerServices) -> None:
    registration.add(services.sessions, "backend", [Scope.RETAKES_READ], by="admin", jwks_url=issuer.url)
    [key] = issuer.keys

    assert ask(api, assertion(key)).status_code == 200
    jku = sign(
        key,
        {"iss": "backend", "sub": "backend", "aud": TOKEN_URL, "exp": int(time.time()) + 60, "jti": "1"},
        jku="http://evil/",
    )
    assert ask(api, jku).status_code == 401
