"""Keys of the broker after another client has written to them; `tests/system/end_to_end` does it to running workers."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from tests.support.forged_messages import forged_message
from worker.broker.keys import BrokerKeys
from worker.doctor.problems import ProblemError
from worker.doctor.services import check_redis
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import Settings

DAMAGE: dict[str, Callable[[Redis, str], object]] = {
    "inbox": lambda redis, key: redis.set(key, b"\xff"),
    "maintenance\x06\x166": lambda redis, key: redis.hset(key, "a", "b"),
    "_kombu.binding.intake": lambda redis, key: redis.lpush(key, "a"),
    "_kombu.binding.reply.celery.pidbox": lambda redis, key: redis.zadd(key, {"a": 1}),
    "_kombu.binding_deadlines": lambda redis, key: redis.sadd(key, "a"),
    "unacked": lambda redis, key: redis.set(key, "a"),
    "unacked_index": lambda redis, key: redis.xadd(key, {"a": "b"}),
    "unacked_mutex": lambda redis, key: redis.set(key, "of another client, without expiry"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_key_is_named_by_doctor_and_deleted(services: Services, settings: Settings, name: str) -> None:
    redis, prefix = services.redis, settings.redis.key_prefix
    keys = BrokerKeys(redis, prefix)
    services.celery.send_task(TaskName.SUBMIT, [{}])
    redis.set(f"{prefix}unacked_mutex", "of a worker", ex=300)
    assert keys.damaged() == []
    assert "version" in check_redis(redis, prefix)

    redis.delete(f"{prefix}{name}")
    DAMAGE[name](redis, f"{prefix}{name}")

    assert keys.damaged() == [name]
    with pytest.raises(ProblemError, match="another client has overwritten keys of the queues"):
        check_redis(redis, prefix)
    keys.repair()
    assert keys.damaged() == []
    assert not redis.exists(f"{prefix}{name}")
    assert redis.llen(f"{prefix}{QueueName.INTAKE}") == 1, "a good key was deleted too"


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"[1, 2]", b"[" * 100_000])
def test_message_of_a_lost_worker_returns_although_another_is_malformed(
    services: Services, settings: Settings, value: bytes
) -> None:
    redis, prefix = services.redis, settings.redis.key_prefix
    for age, (tag, copy) in enumerate(
        {"bad": value, "good": json.dumps([forged_message(), "", QueueName.INTAKE]).encode()}.items()
    ):
        redis.hset(f"{prefix}unacked", tag, copy)
        redis.zadd(f"{prefix}unacked_index", {tag: 1 - age / 10})  # the malformed one is looked at first

    with services.celery.connection_for_read() as connection:
        connection.channel().qos.restore_visible(interval=1)

    assert redis.llen(f"{prefix}{QueueName.INTAKE}") == 1
    assert not redis.exists(f"{prefix}unacked", f"{prefix}unacked_index")


def test_worker_does_not_wait_for_a_command_that_never_arrives(services: Services) -> None:
    """As after a cut connection, which redis-py replaces by one without subscription. Kombu would wait forever."""
    with services.celery.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.subclient.connection = channel.subclient.connection_pool.get_connection()
        with ThreadPoolExecutor(1) as thread:
            received = thread.submit(channel._receive)
            try:
                assert not received.result(timeout=30)
            finally:
                channel.subclient.connection.disconnect()


def test_message_counts_as_acknowledged_when_redis_refuses_to_delete_its_copy(
    services: Services, settings: Settings
) -> None:
    services.celery.send_task(TaskName.SUBMIT, [{}])
    with services.celery.connection_for_read() as connection:
        channel: Any = connection.channel()
        channel.qos.prefetch_count = 1
        channel.basic_consume(QueueName.INTAKE, no_ack=False, callback=lambda _: None, consumer_tag="c")
        connection.drain_events(timeout=10)
        [tag] = channel.qos._delivered
        assert not channel.qos.can_consume()
        services.redis.set(f"{settings.redis.key_prefix}unacked", "a")

        channel.basic_ack(tag)

        assert channel.qos.can_consume()
