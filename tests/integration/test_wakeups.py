from redis import Redis

from worker.app import INBOX, TRAINING
from worker.bootstrap import Services
from worker.settings import Settings
from worker.wakeups import DRAIN


def _waiting(services: Services, settings: Settings, queue: str) -> int:
    redis: Redis = services.redis
    length = redis.llen(f"{settings.redis.key_prefix}{queue}")
    assert isinstance(length, int)
    return length


def test_many_messages_wake_a_worker_once(services: Services, settings: Settings) -> None:
    for _ in range(100):
        assert services.wake_ups.inbox()

    assert _waiting(services, settings, INBOX) == 1


def test_worker_is_woken_again_when_the_wake_up_was_taken(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    services.wake_ups.taken_up(DRAIN)
    services.wake_ups.inbox()

    assert _waiting(services, settings, INBOX) == 2


def test_training_has_a_queue_of_its_own(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()
    services.wake_ups.training()

    assert (_waiting(services, settings, INBOX), _waiting(services, settings, TRAINING)) == (1, 1)


def test_wake_up_is_one_small_json_document_without_ids(services: Services, settings: Settings) -> None:
    services.wake_ups.inbox()

    [message] = services.redis.lrange(f"{settings.redis.key_prefix}{INBOX}", 0, -1)
    assert b'"content-type": "application/json"' in message
    assert len(message) < 1500
