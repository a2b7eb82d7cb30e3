"""Heartbeats of beat and the workers, which leave no trace in the database while there is no work.

Heartbeats expire in Redis, by the clock of Redis, so that any host can check them.
"""

from enum import StrEnum
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from worker.broker.faults import log_unavailable, redis_fault
from worker.broker.keys import queue_keys
from worker.queues import WORKERS

_KEPT_SECONDS: Final = 86_400
_MOVES: Final = b"moves"
_WAITS: Final = b"waits"


class Heartbeat(StrEnum):
    """A periodic event, named after the part that records it."""

    BEAT = "beat"  # a sweep was published
    INTAKE = "intake"  # a sweep has finished


class WorkerState(StrEnum):
    """What is known of the workers of a kind."""

    UP = "up"
    STALLED = "stalled"  # has work that does not move, or died with it
    MISSING = "missing"  # none runs, or it is paused


_PROBLEMS: Final = {
    Heartbeat.BEAT: "beat has published no sweep",
    Heartbeat.INTAKE: "no sweep has finished: are beat and the intake worker up?",
}


class Liveness:
    """Records heartbeats in Redis and detects missing ones."""

    def __init__(self, redis: Redis, key_prefix: str, *, interval_seconds: float) -> None:
        """
        Args:
            redis: stores the heartbeats.
            key_prefix: prefix of all keys.
            interval_seconds: time between two heartbeats of one part.
        """
        self._redis = redis
        self._key_prefix = key_prefix
        self._interval_seconds = interval_seconds

    def record(self, heartbeat: Heartbeat) -> None:
        """Records a heartbeat. If Redis is unavailable, logs a warning and records nothing."""
        try:
            self._redis.set(self._key(heartbeat), 1, ex=_KEPT_SECONDS)
        except RedisError as error:
            log_unavailable(error)

    def missing(self, heartbeat: Heartbeat, after_seconds: float) -> str | None:
        """Describes a heartbeat whose last record is older than `after_seconds` and three intervals.

        Returns:
            One line, or None if the heartbeat is recent.

        Raises:
            RedisUnavailableError: Redis does not respond, or refuses this process.
        """
        try:
            age = _age(self._redis, self._key(heartbeat))
        except RedisError as error:
            raise redis_fault(error) from error
        return _PROBLEMS[heartbeat] if age > max(after_seconds, 3 * self._interval_seconds) else None

    def _key(self, heartbeat: Heartbeat) -> str:
        return f"{self._key_prefix}heartbeat:{heartbeat}"


class WorkerHeartbeats:
    """Heartbeats of the workers of each kind. A worker records none while it has work that does not move."""

    def __init__(self, redis: Redis, key_prefix: str) -> None:
        """
        Args:
            redis: the same Redis as the broker.
            key_prefix: prefix of all keys.
        """
        self._redis = redis
        self._key_prefix = key_prefix

    def tasks_wait(self, kind: str) -> bool:
        """Whether tasks wait in a queue of this kind of worker. Raises errors of Redis."""
        keys = [f"{self._key_prefix}{key}" for queue in WORKERS[kind] for key in queue_keys(queue)]
        return bool(self._redis.exists(*keys))

    def record(self, kind: str) -> None:
        """Records that a worker of this kind makes progress, or has no work. Raises errors of Redis."""
        self._redis.set(self._key(kind), _MOVES, ex=_KEPT_SECONDS)

    def mark_waiting(self, kind: str) -> None:
        """Notes that a worker has work that does not move; the time of the last heartbeat stays."""
        self._redis.set(self._key(kind), _WAITS, xx=True, keepttl=True)

    def stalled(self, kind: str, after_seconds: float) -> str | None:
        """Returns one line if workers of this kind have work and have recorded no heartbeat for this time, or None.

        Raises:
            RedisUnavailableError: Redis does not respond, or refuses this process.
        """
        try:
            value: Any = self._redis.get(self._key(kind))
            if value != _WAITS and not self.tasks_wait(kind):
                return None
            age = _age(self._redis, self._key(kind))
        except RedisError as error:
            raise redis_fault(error) from error
        return f"the {kind} worker has tasks and runs none" if age > after_seconds else None

    def state(self, kind: str, *, within_seconds: float) -> WorkerState:
        """What the last heartbeat of this kind of worker says, which is recent if it is no older than this.

        Raises:
            RedisUnavailableError: Redis does not respond, or refuses this process.
        """
        try:
            value: Any = self._redis.get(self._key(kind))
            is_recent = value is not None and _age(self._redis, self._key(kind)) <= within_seconds
        except RedisError as error:
            raise redis_fault(error) from error
        if is_recent:
            return WorkerState.UP
        return WorkerState.STALLED if value == _WAITS else WorkerState.MISSING

    def _key(self, kind: str) -> str:
        return f"{self._key_prefix}worker:{kind}"


def _age(redis: Redis, key: str) -> float:
    """Seconds since a heartbeat; if it was never recorded, since the start of Redis, which may have lost it."""
    left: Any = redis.pttl(key)
    if left > 0:
        return _KEPT_SECONDS - float(left) / 1000
    info: Any = redis.info("server")
    return float(info["uptime_in_seconds"])
