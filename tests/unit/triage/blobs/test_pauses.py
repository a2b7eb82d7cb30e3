"""Servers that never answer, or that refuse one photo."""

import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from triage.blobs.uris import UriPolicy
from triage.errors import PhotoRefusedError, StorageFaultError, TransientError


@pytest.fixture
def hung() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


def _accepted(listening: socket.socket) -> int:
    """The number of connections since the last call."""
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_hung_server_is_asked_once_and_then_left_alone_for_a_while(hung: socket.socket) -> None:
    root = f"http://127.0.0.1:{hung.getsockname()[1]}/in"
    policy = UriPolicy([root], max_bytes=100, local_networks=[IPv4Network("127.0.0.0/8")], fetch_seconds=0.2)

    def fetch(number: int) -> type[TransientError]:
        with pytest.raises(TransientError) as raised:
            policy.fetch(f"{root}/{number}.jpg")
        return raised.type

    assert fetch(0) is TransientError
    assert _accepted(hung) == 1
    assert {fetch(number) for number in range(1, 100)} == {StorageFaultError}  # costs no attempt
    assert _accepted(hung) == 0

    time.sleep(3)

    assert fetch(1) is TransientError
    assert _accepted(hung) == 1


def test_other_servers_are_asked_while_one_is_paused(hung: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        roots = [f"http://127.0.0.1:{server.getsockname()[1]}/in" for server in (hung, other)]
        policy = UriPolicy(roots, max_bytes=100, local_networks=[IPv4Network("127.0.0.0/8")], fetch_seconds=0.2)
        for root in roots:
            with pytest.raises(TransientError):
                policy.fetch(f"{root}/1.jpg")
        assert (_accepted(hung), _accepted(other)) == (1, 1)


def test_server_that_refuses_a_photo_is_asked_for_the_next(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/in/1.jpg").respond_with_handler(_refuse_slowly)
    httpserver.expect_request("/in/2.jpg").respond_with_data(b"photo")
    root = httpserver.url_for("/in")
    policy = UriPolicy([root], max_bytes=100, local_networks=[IPv4Network("127.0.0.0/8")])

    with pytest.raises(PhotoRefusedError):
        policy.fetch(f"{root}/1.jpg")
    assert policy.fetch(f"{root}/2.jpg") == b"photo"


def _refuse_slowly(_: Request) -> Response:
    time.sleep(0.3)
    return Response(status=403)
