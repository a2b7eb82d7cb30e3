"""Keys of the broker that another client has replaced by a value that no worker can use: found and deleted.

Redis answers each command on such a key with an error, so that a queue would stand still until somebody deletes the
key. Nothing is lost with it: Postgres holds the work, and the sweeps publish new wake-ups.
"""

from typing import Final

import structlog
from redis import Redis

from worker.queues import QueueName

log = structlog.get_logger(__name__)

_PRIORITIES: Final = ("", "\x06\x163", "\x06\x166", "\x06\x169")  # kombu has a key for each step
_EXCHANGES: Final = (*QueueName, "celery.pidbox", "reply.celery.pidbox")
_MUTEX: Final = "unacked_mutex"
_TYPES: Final = {
    **{f"{queue}{priority}": b"list" for queue in QueueName for priority in _PRIORITIES},
    **{f"_kombu.binding.{exchange}": b"set" for exchange in _EXCHANGES},
    **{f"_kombu.binding_permanent.{exchange}": b"set" for exchange in _EXCHANGES},
    "_kombu.binding_deadlines": b"zset",
    "unacked": b"hash",
    "unacked_index": b"zset",
    _MUTEX: b"string",
}
_NO_KEY: Final = b"none"


def queue_keys(queue: QueueName) -> list[str]:
    """Returns the keys of the messages in a queue, without the prefix: one for each priority."""
    return [f"{queue}{priority}" for priority in _PRIORITIES]


class BrokerKeys:
    """The keys that kombu uses, under the prefix of a deployment."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    def damaged(self) -> list[str]:
        """Returns the keys, without prefix, of a wrong type, and the lock of kombu if it never expires.

        Raises:
            RedisError: Redis is unavailable.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in _TYPES:
                pipeline.type(self._prefix + key)
            pipeline.ttl(self._prefix + _MUTEX)
            *types, seconds_left = pipeline.execute()
        wrong = [key for (key, kind), found in zip(_TYPES.items(), types, strict=True) if found not in (kind, _NO_KEY)]
        return [*wrong, _MUTEX] if seconds_left == -1 and _MUTEX not in wrong else wrong

    def repair(self) -> None:
        """Deletes the damaged keys. Raises errors of Redis."""
        if keys := self.damaged():
            self._redis.delete(*(self._prefix + key for key in keys))
            log.warning("redis.repaired", keys=len(keys))
