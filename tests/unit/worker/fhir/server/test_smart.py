"""Tokens by SMART Backend Services, from a real server on this machine that checks the assertion."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from triage.errors import UsageError
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError
from worker.fhir.server.smart import SmartTokens, import_key, public_keys

CONFIGURATION = "/fhir/.well-known/smart-configuration"
KEYS: list[ECKey | RSAKey] = [ECKey.generate_key("P-384"), RSAKey.generate_key(2048)]


def _short_key() -> str:
    key = rsa.generate_private_key(65537, 1024)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class TokenServer:
    """Gives numbered tokens for valid assertions; remembers their claims."""

    def __init__(self, httpserver: HTTPServer, key: ECKey | RSAKey) -> None:
        self.claims: list[dict[str, Any]] = []
        self.url = httpserver.url_for("/token")
        self._keys = KeySet.import_key_set(public_keys(key))
        httpserver.expect_request(CONFIGURATION).respond_with_json({"token_endpoint": self.url})
        httpserver.expect_request("/token", method="POST").respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        token = jwt.decode(request.form["client_assertion"], self._keys, algorithms=["RS384", "ES384"])
        self.claims.append(token.claims | {"scope": request.form["scope"], "kid": token.header["kid"]})
        return Response(
            f'{{"access_token": "t{len(self.claims)}", "expires_in": 300}}', content_type="application/json"
        )


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=2) as client:
        yield client


def _tokens(http: httpx2.Client, httpserver: HTTPServer, key: ECKey | RSAKey = KEYS[0], **options: Any) -> SmartTokens:
    return SmartTokens(
        http, httpserver.url_for("/fhir"), client_id="triage", key=key, scopes="system/Binary.rs", **options
    )


@pytest.mark.parametrize("key", KEYS, ids=["ES384", "RS384"])
def test_assertion_is_signed_and_claims_what_the_standard_asks(
    http: httpx2.Client, httpserver: HTTPServer, key: ECKey | RSAKey
) -> None:
    server = TokenServer(httpserver, key)

    assert _tokens(http, httpserver, key).header() == {"Authorization": "Bearer t1"}

    [claims] = server.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("triage", "triage", server.url)
    assert (claims["scope"], claims["kid"]) == ("system/Binary.rs", key.thumbprint())


def test_token_is_used_again_until_shortly_before_its_end(http: httpx2.Client, httpserver: HTTPServer) -> None:
    server = TokenServer(httpserver, KEYS[0])
    now = [0.0]
    tokens = _tokens(http, httpserver, clock=lambda: now[0])

    used = []
    for now[0] in (0.0, 269.0, 271.0, 300.0):
        used.append(tokens.header()["Authorization"])
    tokens.forget()
    used.append(tokens.header()["Authorization"])

    assert used == ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2", "Bearer t3"]
    assert len({claims["jti"] for claims in server.claims}) == 3


def test_refusal_is_tried_once_more(http: httpx2.Client, httpserver: HTTPServer) -> None:
    httpserver.expect_ordered_request(CONFIGURATION).respond_with_json({"token_endpoint": "token"})
    httpserver.expect_ordered_request("/fhir/token").respond_with_data(b"", 400)
    httpserver.expect_ordered_request("/fhir/token").respond_with_json({"access_token": "t", "expires_in": 60})

    assert _tokens(http, httpserver).header() == {"Authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("configuration", "status", "error"),
    [
        ({"token_endpoint": "token"}, 400, FhirRefusedError),
        ({"token_endpoint": "token"}, 401, FhirRefusedError),
        ({"token_endpoint": "token"}, 200, FhirRefusedError),
        ({"token_endpoint": "token"}, 500, FhirUnavailableError),
        ({"token_endpoint": "token"}, 429, FhirUnavailableError),
        ({"token_endpoint": "http://127.0.0.1:1/token"}, 200, FhirUnavailableError),
        ({"token_endpoint": "ftp://127.0.0.1/token"}, 200, FhirRefusedError),
        ({"token_endpoint": "http://[bad"}, 200, FhirRefusedError),
        ({"token_endpoint": "http://127.0.0.1:x/token"}, 200, FhirRefusedError),
        ({}, 200, FhirRefusedError),
    ],
)
def test_server_without_a_token_is_refused_or_unavailable(
    http: httpx2.Client, httpserver: HTTPServer, configuration: dict[str, str], status: int, error: type[Exception]
) -> None:
    httpserver.expect_request(CONFIGURATION).respond_with_json(configuration)
    httpserver.expect_request("/fhir/token").respond_with_json({"error": "invalid_client"}, status=status)

    with pytest.raises(error) as raised:
        _tokens(http, httpserver).header()

    assert "\n" not in str(raised.value)


def test_token_is_asked_for_again_later_when_the_compression_of_the_answer_is_corrupt(
    http: httpx2.Client, httpserver: HTTPServer
) -> None:
    httpserver.expect_request(CONFIGURATION).respond_with_data(b"no gzip", headers={"Content-Encoding": "gzip"})

    with pytest.raises(FhirUnavailableError):
        _tokens(http, httpserver).header()


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no key",
        ECKey.generate_key("P-256").as_pem(private=True).decode(),
        KEYS[0].as_pem(private=False).decode(),
        _short_key(),
    ],
    ids=["empty", "text", "other curve", "public", "short"],
)
def test_key_is_refused_when_it_is_no_private_key_of_a_sufficient_kind(pem: str) -> None:
    with pytest.raises(UsageError, match="is not usable"):
        import_key(pem)


@pytest.mark.parametrize("key", KEYS, ids=["EC", "RSA"])
def test_key_is_read_from_pem_and_published_without_its_private_part(key: ECKey | RSAKey) -> None:
    imported = import_key(key.as_pem(private=True).decode())

    [published] = public_keys(imported)["keys"]
    assert published["kid"] == key.thumbprint()
    assert not {"d", "p", "q"} & published.keys()
