"""Beat's scheduler. It keeps no file, and sweeps do not depend on the wall clock, which can jump."""

import time
from datetime import datetime
from typing import Any

import structlog
from celery import beat
from celery.schedules import schedstate, schedule
from redis.exceptions import RedisError

from worker.broker.heartbeat_file import HeartbeatFile
from worker.broker.liveness import Heartbeat, Liveness
from worker.broker.redis_client import connect_redis
from worker.logging import release
from worker.queues import QueueName, TaskName

log = structlog.get_logger(__name__)


class Interval(schedule):  # type: ignore[misc]  # Celery has no type hints
    """Due at once, then after each interval of the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self._seconds = seconds
        self._next = time.monotonic()

    def is_due(self, last_run_at: datetime) -> schedstate:  # noqa: ARG002  # of the wall clock
        """Whether the task is due, and the seconds until the next call. If it is due, the interval starts again."""
        now = time.monotonic()
        if now < self._next:
            return schedstate(is_due=False, next=self._next - now)
        self._next = now + self._seconds
        return schedstate(is_due=True, next=self._seconds)


class Scheduler(beat.Scheduler):  # type: ignore[misc]  # Celery has no type hints
    """Celery's scheduler without its heap, which is ordered by the wall clock. It records beat's heartbeat."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        settings = app.settings
        self._key_prefix = settings.redis.key_prefix
        self._redis = connect_redis(settings)
        self._liveness = Liveness(self._redis, self._key_prefix, interval_seconds=settings.inbox.sweep_seconds)
        self._heartbeat_file = HeartbeatFile(settings.worker.heartbeat_file)
        super().__init__(app, *args, **kwargs)

    def setup_schedule(self) -> None:
        """Logs the start: Celery calls this once, when beat begins to publish."""
        log.info("part.started", version=release(), kind="beat")
        self._heartbeat_file.start()
        super().setup_schedule()

    def tick(self, *_: Any, **__: Any) -> float:
        """Publishes the tasks that are due, and returns the seconds until the next call."""
        waits: list[float] = [self.max_interval]
        for entry in list(self.schedule.values()):
            is_due, seconds = self.is_due(entry)
            if is_due:
                self.apply_entry(self.reserve(entry), producer=self.producer)
            waits.append(self.adjust(seconds) or 0)
        return max(0.0, min(waits))

    def apply_async(self, entry: Any, *args: Any, **kwargs: Any) -> Any:
        """Publishes a task, unless it is a sweep and one is waiting; records a heartbeat if that raised no error."""
        result = None
        if entry.task != TaskName.SWEEP or not self._maintenance_waits():
            result = super().apply_async(entry, *args, **kwargs)
        self._liveness.record(Heartbeat.BEAT)
        self._heartbeat_file.work_moves()
        return result

    def _maintenance_waits(self) -> bool:
        """Whether the intake worker has not received earlier maintenance tasks: another sweep would have no effect."""
        try:
            return bool(self._redis.llen(f"{self._key_prefix}{QueueName.MAINTENANCE}"))
        except RedisError:
            return False  # publishing then raises the error
