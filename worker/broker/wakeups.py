"""Wake-ups: a Celery message that says "there is work", coalesced so that a thousand messages wake a worker once.

Losing one costs nothing but time: the sweeper publishes another. So a Redis that is down is logged and left alone.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from worker.queues import DRAIN, TRAIN, TRAINING

log = structlog.get_logger(__name__)


_SILENT_FOR_LOST: Final = 9
"""So many times as long as a failed try took: hanging takes no more than a tenth of anybody's time."""


class WakeUps:
    """Publishes wake-ups, at most one of a kind until a worker has taken it up or the window is over."""

    def __init__(self, celery: Celery, redis: Redis, key_prefix: str, *, window_seconds: float) -> None:
        self._celery = celery
        self._redis = redis
        self._key_prefix = key_prefix
        self._window_ms = max(1, int(window_seconds * 1000))
        self._silent_until = 0.0

    def inbox(self) -> bool:
        """Wakes a scoring worker; returns whether a wake-up is under way."""
        return self._publish(DRAIN, lambda: self._redis.set(self._key(DRAIN), 1, nx=True, px=self._window_ms))

    def training(self) -> bool:
        """Wakes a training worker unless a wake-up waits in its queue; returns whether one is under way.

        A run may wait for hours behind another one, and a worker may die as it takes a wake-up: no window fits both.
        """
        return self._publish(TRAIN, lambda: not self._redis.llen(f"{self._key_prefix}{TRAINING}"))

    def taken_up(self, task: str) -> None:
        """Says that a worker has taken the wake-up, so that the next piece of work publishes a new one."""
        try:
            self._redis.delete(self._key(task))
        except RedisError as error:
            log.warning("redis.unavailable", error_type=type(error).__name__, task=task)

    def _publish(self, task: str, is_wanted: Callable[[], object]) -> bool:
        before = time.monotonic()
        if before < self._silent_until:
            return False
        try:
            if is_wanted():
                self._celery.send_task(task, ignore_result=True)
        except (RedisError, OperationalError, OSError) as error:
            log.warning("redis.unavailable", error_type=type(error).__name__, task=task)
            # a Redis that hangs costs a time-out for each try: whoever scores or accepts goes on without it for a while
            now = time.monotonic()
            self._silent_until = now + max(self._window_ms / 1000, _SILENT_FOR_LOST * (now - before))
            return False
        return True

    def _key(self, task: str) -> str:
        return f"{self._key_prefix}wake-up:{task}"
