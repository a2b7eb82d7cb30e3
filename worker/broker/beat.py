"""Beat's scheduler. It keeps no file, and the sweeps do not depend on a wall clock, which may step."""

import time
from datetime import datetime
from typing import Any

from celery import beat
from celery.schedules import schedstate, schedule
from redis import Redis
from redis.exceptions import RedisError

from worker.broker.liveness import Sign
from worker.queues import MAINTENANCE, SWEEP


class Interval(schedule):  # type: ignore[misc]  # Celery carries no types
    """Due at once, and then every so many seconds of the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._seconds = seconds
        self._next = time.monotonic()

    def is_due(self, last_run_at: datetime) -> schedstate:  # noqa: ARG002  # by the wall clock
        """Whether it is due, and in how many seconds it is to be asked again. Asking when it is due counts as a run."""
        now = time.monotonic()
        if now < self._next:
            return schedstate(is_due=False, next=self._next - now)
        self._next = now + self._seconds
        return schedstate(is_due=True, next=self._seconds)


class Scheduler(beat.Scheduler):  # type: ignore[misc]  # likewise
    """Celery's own without its heap, which is ordered by the wall clock; it also says that it goes on."""

    def tick(self, *_: Any, **__: Any) -> float:
        """Publishes what is due, and returns the seconds until it should be asked again."""
        waits: list[float] = [self.max_interval]
        for entry in list(self.schedule.values()):
            is_due, seconds = self.is_due(entry)
            if is_due:
                self.apply_entry(self.reserve(entry), producer=self.producer)
            waits.append(self.adjust(seconds) or 0)
        return max(0.0, min(waits))

    def apply_async(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        """Gives a sign for each task that reached Redis, or need not since one waits there, and none for another."""
        from worker.services import services  # made by this process, which imports this module to know its schedule

        own = services()
        result = None
        if entry.task != SWEEP or not _waits(own.redis, own.settings.redis.key_prefix):
            result = super().apply_async(entry, *args, **kwargs)
        own.pulse.give(Sign.BEAT)
        return result


def _waits(redis: Redis, key_prefix: str) -> bool:
    """Whether the sweeper has not taken what was published before: a further sweep would do the same."""
    try:
        return bool(redis.llen(f"{key_prefix}{MAINTENANCE}"))
    except RedisError:
        return False  # publishing it will say so
