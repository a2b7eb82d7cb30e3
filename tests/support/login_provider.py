"""An identity provider for logins by OpenID Connect: discovery, keys, and a token endpoint that checks PKCE."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey


class Provider:
    """Signs id tokens for people who have logged in to it.

    Attributes:
        changes: claims that replace right ones in the next id tokens.
        metadata: replaces parts of the discovery document.
    """

    CLIENT = "triage-console"
    SECRET = "s3cret"  # of a test

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "k1"})
        self.changes: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self._codes: dict[str, tuple[dict[str, str], dict[str, Any]]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(200, provider.published(urlsplit(self.path).path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._send(*provider.redeem(dict(parse_qsl(body)), self.headers.get("Authorization", "")))

            def _send(self, status: int, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def published(self, path: str) -> Any:
        if path == "/jwks":
            return {"keys": [self.key.as_dict(private=False)]}
        assert path == "/.well-known/openid-configuration"
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=7",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
        } | self.metadata

    def log_in(self, address: str, **claims: Any) -> str:
        """What the provider does after a login: returns the query with which it sends the browser back."""
        parts = urlsplit(address)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert (parts.path, asked["tenant"], asked["response_type"]) == ("/authorize", "7", "code")
        assert (asked["client_id"], asked["code_challenge_method"]) == (self.CLIENT, "S256")
        code = f"code-{len(self._codes)}"
        self._codes[code] = (asked, claims)
        return f"code={code}&state={asked['state']}&iss={self.url}"

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        asked, claims = self._codes.pop(form["code"], ({}, {}))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        basic = base64.b64encode(f"{self.CLIENT}:{self.SECRET}".encode()).decode()
        if (
            asked.get("code_challenge") != challenge.decode()
            or asked["redirect_uri"] != form["redirect_uri"]
            or authorization != f"Basic {basic}"
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        right = {"iss": self.url, "aud": self.CLIENT, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        header = {"alg": "ES256", "kid": "k1"}
        return 200, {"id_token": jwt.encode(header, right | claims | self.changes, self.key), "token_type": "Bearer"}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.stop()
