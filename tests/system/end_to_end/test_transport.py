"""A message by TLS to a Redis with a password, signed; and Redis as a thief would find it."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from kombu.exceptions import OperationalError
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.certificates import make_certificate
from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from triage.domain.messages import IncomingAttachment, IncomingMessage
from worker.broker.redis_client import connect_redis
from worker.embedded.redis import find_redis_binary
from worker.services import Services
from worker.settings import RedisSettings, Settings, SigningSettings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PASSWORD = "swordfish"
PATIENT = "Erika-Mustermann"
SUBMISSION = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}


@dataclass(frozen=True)
class SecuredRedis:
    url: str
    ca_file: Path


@pytest.fixture
def secured_redis(tmp_path: Path) -> Iterator[SecuredRedis]:
    """A Redis with a password, behind TLS."""
    certificate, key = make_certificate(tmp_path / "tls", "redis")
    port = _free_port()
    options = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--requirepass",
        PASSWORD,
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    server = subprocess.Popen([find_redis_binary(), *options], stdout=subprocess.DEVNULL)
    try:
        eventually(lambda: _accepts(port))
        with _tls_before(port, certificate, key) as tls_port:
            yield SecuredRedis(f"rediss://:{PASSWORD}@127.0.0.1:{tls_port}/0", certificate)
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
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


def _through(settings: Settings, redis: SecuredRedis, signing: SigningSettings | None = None) -> Settings:
    reached = RedisSettings(url=SecretStr(redis.url), ca_file=redis.ca_file, key_prefix=settings.redis.key_prefix)
    return settings.model_copy(update={"redis": reached, "signing": signing or SigningSettings()})


def _signing(folder: Path, name: str, trusted: Path) -> SigningSettings:
    certificate, key = make_certificate(folder, name)
    return SigningSettings(key_file=key, certificate_file=certificate, trusted_folder=trusted)


def test_redis_of_an_unknown_authority_is_refused(
    settings: Settings, secured_redis: SecuredRedis, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path / "other", "redis")
    trusting = _through(settings, secured_redis)
    distrusting = _through(settings, SecuredRedis(secured_redis.url, other))

    with connect_redis(trusting) as redis:
        assert redis.ping()
    with connect_redis(distrusting) as redis, pytest.raises(RedisConnectionError, match="certificate"):
        redis.ping()
    with Services(distrusting) as services, pytest.raises(OperationalError):
        services.celery.send_task("inbox.sweep", ignore_result=True)


def test_signed_message_is_accepted_and_any_other_refused(
    deploy: Deploy, settings: Settings, secured_redis: SecuredRedis, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted"
    ours = _signing(trusted, "triage", trusted)
    variables = {
        "REDIS__URL": secured_redis.url,
        "REDIS__CA_FILE": str(secured_redis.ca_file),
        "SIGNING__KEY_FILE": str(ours.key_file),
        "SIGNING__CERTIFICATE_FILE": str(ours.certificate_file),
        "SIGNING__TRUSTED_FOLDER": str(trusted),
    }
    with deploy("intake", **variables) as clinic:
        with Services(_through(settings, secured_redis)) as unsigned:
            unsigned.celery.send_task("inbox.submit", [SUBMISSION | {"message_id": "m-unsigned"}], ignore_result=True)
        with Services(_through(settings, secured_redis, _signing(tmp_path / "thief", "thief", trusted))) as stranger:
            stranger.celery.send_task("inbox.submit", [SUBMISSION | {"message_id": "m-stranger"}], ignore_result=True)
        with Services(_through(settings, secured_redis, ours)) as sender:
            answer = sender.celery.send_task("inbox.submit", [SUBMISSION]).get(timeout=WAIT_SECONDS)
            assert answer["created"]
            assert sender.celery.control.ping(timeout=10.0, limit=1)

        assert clinic.query("SELECT external_id FROM message") == [("m-1",)]
        log = clinic.log("intake").read_text(encoding="utf-8")
        assert "ContentDisallowed" in log
        assert "Can't decode message body" in log  # the stranger's certificate is not among the trusted
        assert PASSWORD not in log


def test_redis_holds_only_ids_while_messages_wait_and_afterwards(
    deploy: Deploy, settings: Settings, services: Services, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (incoming / f"{PATIENT}.jpg").write_bytes(jpeg(1))
    attachments = [
        IncomingAttachment(uri=(incoming / f"{PATIENT}.jpg").as_uri()),
        IncomingAttachment(data=jpeg(2)),
        IncomingAttachment(uri=f"file:///elsewhere/{PATIENT}.jpg"),
    ]
    message = IncomingMessage("ehr", "m-1", attachments, thread="t-1")

    with deploy("scoring", "intake") as clinic:
        services.intake.enqueue([message])
        while_waiting = _dump(services.redis, settings.redis.key_prefix)
        assert eventually(lambda: clinic.outcome("m-1"))
        afterwards = _dump(services.redis, settings.redis.key_prefix)

    assert b"inbox.drain" in while_waiting
    for dump in (while_waiting, afterwards):
        for word in (PATIENT, "file:", ".jpg", "m-1", "t-1", "ehr"):
            assert word.encode() not in dump


def _dump(redis: Redis, prefix: str) -> bytes:
    """All keys and values as they are, under the prefix and nowhere else."""
    readers: dict[Any, Callable[[Any], object]] = {
        b"string": redis.get,
        b"list": lambda key: redis.lrange(key, 0, -1),
        b"hash": redis.hgetall,
        b"set": redis.smembers,
        b"zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
        b"none": lambda _: "already received by a worker",
    }
    keys = list(redis.scan_iter(f"*{prefix}*"))
    assert all(key.startswith(prefix.encode()) for key in keys)
    return b"".join(key + repr(readers[redis.type(key)](key)).encode() for key in keys)
