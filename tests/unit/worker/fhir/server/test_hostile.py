"""A FHIR server that is slow, endless, forgetful or deceitful: each answer ends in one of few errors, within limits."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from joserfc.jwk import ECKey
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import worker.fhir.server.bodies
from worker.fhir.references import Target
from worker.fhir.server.bodies import JSON
from worker.fhir.server.client import FhirClient
from worker.fhir.server.connection import connect
from worker.fhir.server.errors import FhirRefusedError, FhirUnavailableError, RejectedError, TooLargeError
from worker.setting_groups import FhirSettings

MESSAGE = Target("Communication", "1")


class Hospital:
    """A server with tokens, each of which may be used a few times."""

    def __init__(self, httpserver: HTTPServer, uses: int) -> None:
        self.tokens = 0
        self.seen: list[str] = []
        self._uses, self._left = uses, 0
        httpserver.expect_request("/fhir/.well-known/smart-configuration").respond_with_json(
            {"token_endpoint": httpserver.url_for("/token")}
        )
        httpserver.expect_request("/token").respond_with_handler(self._give)
        httpserver.expect_request("/fhir/Communication/1").respond_with_handler(self._show)

    def _give(self, _: Request) -> Response:
        self.tokens, self._left = self.tokens + 1, self._uses
        return Response(f'{{"access_token": "t{self.tokens}", "expires_in": 3600}}', content_type="application/json")

    def _show(self, request: Request) -> Response:
        self.seen.append(request.headers["Authorization"])
        if self.seen[-1] != f"Bearer t{self.tokens}" or not self._left:
            return Response(status=401)
        self._left -= 1
        return Response('{"resourceType": "Communication", "id": "1"}', content_type=JSON)


@pytest.fixture
def client(httpserver: HTTPServer, tmp_path: Path) -> Iterator[FhirClient]:
    key_file = tmp_path / "key.pem"
    key_file.write_bytes(ECKey.generate_key("P-384").as_pem(private=True))
    settings = FhirSettings(url=httpserver.url_for("/fhir"), client_id="triage", key_file=key_file, timeout_seconds=5)
    client = connect(settings)
    yield client
    client.close()


def test_expired_token_is_replaced_once(client: FhirClient, httpserver: HTTPServer) -> None:
    hospital = Hospital(httpserver, uses=2)

    for _ in range(5):
        client.read(MESSAGE)

    assert hospital.tokens == 3
    assert hospital.seen.count("Bearer t1") == 3  # the third use was refused


def test_client_is_refused_when_each_new_token_is_refused(client: FhirClient, httpserver: HTTPServer) -> None:
    hospital = Hospital(httpserver, uses=0)

    with pytest.raises(FhirRefusedError):
        client.read(MESSAGE)

    assert (hospital.tokens, len(hospital.seen)) == (2, 2)


def _drip(_: Request) -> Response:
    def body() -> Iterator[bytes]:
        while True:
            yield b" "
            time.sleep(0.01)

    return Response(body(), content_type=JSON)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = worker.fhir.server.bodies.read_body.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "seconds", 0.3)


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("path", ["/fhir/Communication/1", "/token"])
def test_body_that_never_ends_is_given_up(client: FhirClient, httpserver: HTTPServer, path: str) -> None:
    httpserver.expect_request(path).respond_with_handler(_drip)
    Hospital(httpserver, uses=9)

    with pytest.raises(FhirUnavailableError):
        client.read(MESSAGE)


def _endless(size: int) -> Callable[[Request], Response]:
    return lambda _: Response((b" " * 2**16 for _ in range(size)), content_type=JSON)


def test_token_that_is_too_large_is_refused(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/token").respond_with_handler(_endless(10_000))
    Hospital(httpserver, uses=9)

    with pytest.raises(FhirRefusedError, match="as the standard says"):
        client.read(MESSAGE)


def test_bytes_that_are_compressed_count_as_they_are_decoded(client: FhirClient, httpserver: HTTPServer) -> None:
    Hospital(httpserver, uses=9)
    bomb = gzip.compress(bytes(2**24))
    httpserver.expect_request("/fhir/Binary/1").respond_with_data(
        bomb, headers={"Content-Encoding": "gzip"}, content_type="image/jpeg"
    )

    with pytest.raises(TooLargeError):
        client.content("Binary/1", "image/jpeg", max_bytes=2**20)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_of_a_resource_is_not_followed(client: FhirClient, httpserver: HTTPServer, status: int) -> None:
    stray = httpserver.url_for("/elsewhere")
    httpserver.expect_request("/fhir/Communication", method="POST").respond_with_data(
        b"", status, headers={"Location": stray}
    )
    Hospital(httpserver, uses=9)

    with pytest.raises(RejectedError) as raised:
        client.create({"resourceType": "Communication", "status": "completed"})

    assert raised.value.status == status
    assert not [request for request, _ in httpserver.log if request.path == "/elsewhere"]


def test_wait_that_the_token_server_asks_for_is_known(client: FhirClient, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/token").respond_with_data(b"", 429, headers={"Retry-After": "17"})
    Hospital(httpserver, uses=9)

    with pytest.raises(FhirUnavailableError) as raised:
        client.read(MESSAGE)

    assert raised.value.retry_after is not None
    assert raised.value.retry_after.total_seconds() == 17


def test_client_is_usable_after_a_connection_was_cut(client: FhirClient, httpserver: HTTPServer) -> None:
    def cut(request: Request) -> Response:
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return Response(b"")

    Hospital(httpserver, uses=9)
    httpserver.expect_request("/fhir/Communication/2").respond_with_handler(cut)

    with pytest.raises(FhirUnavailableError):
        client.read(Target("Communication", "2"))
    assert client.read(MESSAGE).resource["id"] == "1"
