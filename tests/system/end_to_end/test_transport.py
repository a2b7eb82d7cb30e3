"""Redis behind TLS, and its content as a thief would find it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.certificates import make_certificate
from tests.support.deployment import Deployment, eventually
from tests.support.secured_redis import SecuredRedis, through
from triage.domain.messages import IncomingAttachment, IncomingMessage
from worker.broker.redis_client import connect_redis
from worker.services import Services
from worker.settings import Settings

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PASSWORD = "swordfish"
PATIENT = "Erika-Mustermann"
SUBMISSION = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}


def test_redis_of_an_unknown_authority_is_refused(
    settings: Settings, secured_redis: SecuredRedis, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path / "other", "redis")
    trusting = through(settings, secured_redis)
    distrusting = through(settings, SecuredRedis(secured_redis.url, other))

    with connect_redis(trusting) as redis:
        assert redis.ping()
    with connect_redis(distrusting) as redis, pytest.raises(RedisConnectionError, match="certificate"):
        redis.ping()
    with Services(distrusting) as services, pytest.raises(OperationalError):
        services.celery.send_task("inbox.sweep", ignore_result=True)


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
