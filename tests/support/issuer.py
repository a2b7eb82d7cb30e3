"""A web server that publishes the public keys of an issuer of tokens."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey


class Issuer:
    """Publishes keys at `url`, with TLS if it has a certificate and its key.

    Attributes:
        status: of its answers.
        reads: how often the keys were read.
    """

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.keys: list[ECKey | RSAKey] = [ECKey.generate_key("P-384", {"kid": "k1"})]
        self.status = 200
        self.reads = 0
        self._may_answer = threading.Event()
        self._may_answer.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.reads += 1
                issuer._may_answer.wait(60)
                body = json.dumps(issuer.published()).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.server.server_port}/jwks"

    def published(self) -> dict[str, Any]:
        """The public keys, beside one of a kind that nobody knows."""
        return {"keys": [{"kty": "new", "kid": "k0"}, *(key.as_dict(private=False) for key in self.keys)]}

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """A while in which requests get no answer."""
        self._may_answer.clear()
        try:
            yield
        finally:
            self._may_answer.set()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.stop()
