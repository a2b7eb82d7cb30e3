"""A Redis with a password behind TLS, and settings of its clients."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.certificates import make_certificate
from tests.support.deployment import eventually
from worker.embedded.redis import find_redis_binary
from worker.settings import RedisSettings, Settings, SigningSettings

PASSWORD = "swordfish"


@dataclass(frozen=True)
class SecuredRedis:
    """
    Attributes:
        url: with TLS, as the default user.
        ca_file: of the server.
        plain_port: without TLS. The user `limited` with the password `pw` may do everything to keys `other:*`.
    """

    url: str
    ca_file: Path
    plain_port: int = 0


@pytest.fixture(scope="module")
def secured_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    """A Redis with a password, behind TLS."""
    folder = tmp_path_factory.mktemp("redis")
    certificate, key = make_certificate(folder / "tls", "redis")
    port = free_port()
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--requirepass",
        PASSWORD,
        "--user",
        *("limited", "on", ">pw", "~other:*", "+@all"),
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    server = subprocess.Popen([find_redis_binary(), *options], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _accepts(port))
        with _tls_before(port, certificate, key) as tls_port:
            yield SecuredRedis(f"rediss://:{PASSWORD}@127.0.0.1:{tls_port}/0", certificate, port)
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def _tls_before(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """Ends TLS before a server that has none, as stunnel would."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening, context, port), daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with suppress(OSError):
        while True:
            plain, _ = listening.accept()
            threading.Thread(target=_serve, args=(plain, context, port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with (
        suppress(OSError),
        plain,
        context.wrap_socket(plain, server_side=True) as secured,
        socket.create_connection(("127.0.0.1", port)) as server,
    ):
        back = threading.Thread(target=_pump, args=(server, secured), daemon=True)
        back.start()
        _pump(secured, server)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def through(settings: Settings, redis: SecuredRedis, signing: SigningSettings | None = None) -> Settings:
    """The settings of a client of this Redis."""
    reached = RedisSettings(url=SecretStr(redis.url), ca_file=redis.ca_file, key_prefix=settings.redis.key_prefix)
    return settings.model_copy(update={"redis": reached, "signing": signing or SigningSettings()})
