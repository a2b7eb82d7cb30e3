"""Wake-ups: Celery tasks that say "there is work". They are coalesced: a thousand messages wake a worker once.

A lost wake-up only costs time, because the next sweep publishes another. Failures of Redis are logged and ignored.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from worker.broker.faults import REDIS_ERRORS, log_unavailable
from worker.queues import QueueName, TaskName

if TYPE_CHECKING:
    from celery import Celery

_PAUSE_FACTOR: Final = 9
"""Pause after a failure, in multiples of its duration: a Redis that times out costs at most a tenth of the time."""


class WakeUps:
    """Publishes wake-ups, at most one per kind until a worker receives it or the window ends."""

    def __init__(self, celery: "Celery", redis: Redis, key_prefix: str, *, window_seconds: float) -> None:
        """
        Args:
            celery: publishes the tasks.
            redis: the same Redis as the broker.
            key_prefix: prefix of all keys.
            window_seconds: time after which a wake-up that no worker received is published again.
        """
        self._celery = celery
        self._redis = redis
        self._key_prefix = key_prefix
        self._window_ms = max(1, int(window_seconds * 1000))
        self._paused_until = 0.0

    def inbox(self) -> bool:
        """Wakes a scoring worker; returns whether a wake-up is in its queue."""
        return self._publish(TaskName.DRAIN, lambda: self._begins_window(TaskName.DRAIN))

    def training(self) -> bool:
        """Wakes a training worker, unless a wake-up is in its queue; returns whether one is.

        It looks at the queue instead of a window: a run may wait for hours behind another, and a worker may crash after
        it received the wake-up.
        """
        return self._publish(TaskName.TRAIN, lambda: self._is_empty(QueueName.TRAINING))

    def deliveries(self) -> bool:
        """Wakes a delivery worker to send, unless such a wake-up is in its queue; returns whether one is."""
        return self._publish(TaskName.DELIVER, lambda: self._is_empty(QueueName.DELIVERIES))

    def arrivals(self) -> bool:
        """Wakes a delivery worker to read messages, unless such a wake-up is in its queue; returns whether one is."""
        return self._publish(TaskName.COLLECT, lambda: self._is_empty(QueueName.ARRIVALS))

    def received(self, task: TaskName) -> None:
        """Notes that a worker received the wake-up, so that the next piece of work publishes a new one."""
        try:
            self._redis.delete(self._key(task))
        except RedisError as error:
            log_unavailable(error, task=task)

    def _publish(self, task: TaskName, is_wanted: Callable[[], object]) -> bool:
        before = time.monotonic()
        if before < self._paused_until:
            return False
        try:
            if is_wanted():
                self._celery.send_task(task, ignore_result=True)
        except (*REDIS_ERRORS, OperationalError) as error:
            log_unavailable(error, task=task)
            # each attempt at a hanging Redis costs a timeout; scoring and intake continue without it during the pause
            now = time.monotonic()
            self._paused_until = now + max(self._window_ms / 1000, _PAUSE_FACTOR * (now - before))
            return False
        return True

    def _is_empty(self, queue: QueueName) -> bool:
        return not self._redis.llen(f"{self._key_prefix}{queue}")

    def _begins_window(self, task: TaskName) -> bool:
        """Whether no wake-up was published in this window; then the next window begins.

        A key without expiry or of another type, which no sender of wake-ups writes, would stop them forever.
        """
        key = self._key(task)
        if self._redis.set(key, 1, nx=True, px=self._window_ms):
            return True
        left: Any = self._redis.pttl(key)
        if 0 <= left <= self._window_ms:
            return False
        self._redis.set(key, 1, px=self._window_ms)
        return True

    def _key(self, task: TaskName) -> str:
        return f"{self._key_prefix}wake-up:{task}"
