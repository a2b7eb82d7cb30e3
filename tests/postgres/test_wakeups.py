import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from triage.domain.messages import IncomingAttachment, IncomingMessage
from worker.queues import QueueName, TaskName
from worker.services import Services
from worker.settings import RedisSettings, Settings


def _waiting(services: Services, settings: Settings, queue: str) -> int:
    redis: Redis = services.redis
    length = redis.llen(f"{settings.redis.key_prefix}{queue}")
    assert isinstance(length, int)
    return length


def test_many_messages_wake_a_worker_once(services: Services, settings: Settings) -> None:
    for _ in range(100):
        assert services.wake_ups.inbox()

    assert _waiting(services, settings, QueueName.INBOX) == 1


def test_another_wake_up_is_published_when_a_worker_received_the_last(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    services.wake_ups.received(TaskName.DRAIN)
    services.wake_ups.inbox()

    assert _waiting(services, settings, QueueName.INBOX) == 2


def test_another_wake_up_is_published_when_the_window_has_ended(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    services.redis.delete(f"{settings.redis.key_prefix}wake-up:{TaskName.DRAIN}")  # as Redis does when the key expires
    services.wake_ups.inbox()

    assert _waiting(services, settings, QueueName.INBOX) == 2


def test_window_expires_when_no_worker_receives_the_wake_up(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    [key] = services.redis.keys(f"{settings.redis.key_prefix}wake-up:*")

    left = services.redis.pttl(key)
    assert isinstance(left, int)
    assert 0 < left <= 1000 * settings.inbox.sweep_seconds


@pytest.mark.parametrize("kind", ["a lock without expiry", "a lock for a year", "a hash"])
def test_wake_up_is_published_when_another_client_has_written_its_key(
    services: Services, settings: Settings, kind: str
) -> None:
    key = f"{settings.redis.key_prefix}wake-up:{TaskName.DRAIN}"
    if kind == "a hash":
        services.redis.hset(key, "a", "b")
    else:
        services.redis.set(key, "theirs", ex=31_536_000 if "year" in kind else None)

    for _ in range(2):
        assert services.wake_ups.inbox()

    assert _waiting(services, settings, QueueName.INBOX) == 1


def test_message_is_accepted_when_redis_is_down(without_redis: Services) -> None:
    message = IncomingMessage("ehr", "m-1", [IncomingAttachment(data=b"photo")])

    [acceptance] = without_redis.intake.enqueue([message])

    assert acceptance.created
    with without_redis.sessions() as session:
        assert session.scalar(text("SELECT status FROM attachment")) == "pending"


def test_wake_up_returns_false_when_redis_is_down(without_redis: Services) -> None:
    assert not without_redis.wake_ups.inbox()
    assert not without_redis.wake_ups.training()
    without_redis.wake_ups.received(TaskName.DRAIN)  # raises nothing


def test_wake_ups_pause_after_a_failure_of_redis(settings: Settings) -> None:
    """Each attempt at a hanging Redis costs a timeout, and a scoring worker makes one per full batch."""
    tried: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        thread = threading.Thread(target=_hang_up, args=(server, tried))
        thread.start()
        redis = RedisSettings(url=SecretStr(address), socket_timeout_seconds=1)
        services = Services(settings.model_copy(update={"redis": redis}))

        assert not services.wake_ups.inbox()
        n_tried = len(tried)
        assert n_tried
        assert [services.wake_ups.inbox() for _ in range(20)] == [False] * 20
        assert len(tried) == n_tried

        services.close()
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def _hang_up(server: socket.socket, tried: list[int]) -> None:
    with suppress(OSError):  # the test has ended
        while True:
            connection, _ = server.accept()
            tried.append(1)
            connection.close()


@pytest.fixture
def without_redis(settings: Settings) -> Iterator[Services]:
    nowhere = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"), socket_timeout_seconds=1)
    services = Services(settings.model_copy(update={"redis": nowhere}))
    yield services
    services.close()


def test_wake_up_is_published_when_other_services_of_the_process_were_closed(
    services: Services, settings: Settings
) -> None:
    assert services.wake_ups.inbox()
    prefix = RedisSettings(key_prefix=f"other-{settings.redis.key_prefix}")
    with Services(settings.model_copy(update={"redis": prefix})) as others:
        assert others.wake_ups.inbox()

    assert services.wake_ups.training()


def test_training_has_its_own_queue(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    services.wake_ups.training()

    assert (_waiting(services, settings, QueueName.INBOX), _waiting(services, settings, QueueName.TRAINING)) == (1, 1)


def test_wake_up_is_one_small_json_document_without_ids(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()

    [message] = services.redis.lrange(f"{settings.redis.key_prefix}{QueueName.INBOX}", 0, -1)
    assert b'"content-type": "application/json"' in message
    assert len(message) < 1500


def test_another_training_wake_up_is_published_when_the_last_was_lost(services: Services, settings: Settings) -> None:
    for _ in range(3):
        assert services.wake_ups.training()
    assert _waiting(services, settings, QueueName.TRAINING) == 1

    services.redis.delete(f"{settings.redis.key_prefix}{QueueName.TRAINING}")  # a worker received it and crashed
    services.wake_ups.training()

    assert _waiting(services, settings, QueueName.TRAINING) == 1
