"""The Celery worker of this product: it ends itself when it cannot run tasks, so that its supervisor restarts it."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import celery.apps.worker
import psutil
import structlog
from celery.apps.worker import Worker
from celery.exceptions import WorkerLostError
from celery.platforms import EX_FAILURE
from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.request import Request
from redis.exceptions import RedisError

from worker.broker.celery_logs import say
from worker.broker.guard import end_worker, fail_delivery
from worker.broker.heartbeat_file import HeartbeatFile
from worker.broker.keys import BrokerKeys
from worker.broker.liveness import WorkerHeartbeats
from worker.broker.losses import MOST_LOSSES, losses
from worker.broker.progress import last_progress
from worker.broker.redis_client import connect_redis
from worker.logging import release
from worker.queues import WORKERS

log = structlog.get_logger(__name__)
celery.apps.worker.safe_say = say

_MAX_INTERVAL_SECONDS: Final = 5.0
_TICKS_PER_STALL: Final = 4
_GRACE_SECONDS: Final = 30.0
"""Time for an ordered shutdown, which waits for a running task: after it, the processes are killed."""


class GuardedRequest(Request):  # type: ignore[misc]  # Celery has no type hints
    """A request that ends its worker if it cannot be accepted, and answers its sender if the child is lost."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Ends the worker if it cannot note that the child has accepted the task.

        The pool would only log the error. The message would stay unacknowledged, and the worker would receive no other.
        """
        try:
            super().on_accepted(pid, time_accepted)
        except self._connection_errors:
            raise
        except Exception as error:
            fail_delivery(error)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> None:
        """Answers a sender that waits, if the child was killed while it ran the task. Celery would store a failure.

        Ends the worker if its children lose their device one after another.
        """
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # the pool wraps it with its traceback
        if isinstance(error, WorkerLostError) and losses() >= MOST_LOSSES and not state.should_stop:
            log.error("device.abandoned")
            end_worker()
        if not isinstance(error, WorkerLostError) or self.ignore_result or self._success_was_stored():
            super().on_failure(exc_info, *args, **kwargs)
            return
        state.task_ready(self)
        log.error("task.lost", task=self.name)
        self.task.backend.mark_as_done(self.id, self.task.answer_if_lost(), request=self._context)


class GuardedConsumer(Consumer):  # type: ignore[misc]  # Celery has no type hints
    """A consumer that repairs the keys of the broker before it connects, at the start and after each error."""

    def connect(self) -> Any:
        settings = self.app.settings
        with suppress(RedisError), connect_redis(settings) as redis:
            BrokerKeys(redis, settings.redis.key_prefix).repair()
        return super().connect()


class GuardedWorker(Worker):  # type: ignore[misc]  # Celery has no type hints
    """A worker that exits with a failure if it cannot pass a task to its child, or works without progress."""

    def _process_task(self, request: Any) -> None:
        """Passes a task to the child process. Celery calls it with the only slot of the child taken."""
        try:
            super()._process_task(request)
        except Exception as error:
            fail_delivery(error)

    def on_start(self) -> None:
        """Logs the start, before the worker connects."""
        kind = self.hostname.partition("@")[0]
        device = {"scoring": self.app.settings.scorer.device, "training": self.app.settings.training.device}.get(kind)
        queues = sorted(self.app.amqp.queues.consume_from)
        log.info("part.started", version=release(), kind=kind, queues=queues, device=device)
        self._heartbeat_file = HeartbeatFile(self.app.settings.worker.heartbeat_file)
        self._heartbeat_file.start()
        super().on_start()

    def on_consumer_ready(self, consumer: Any) -> None:
        """Starts the watch when the worker has connected for the first time."""
        super().on_consumer_ready(consumer)
        settings, kind = self.app.settings, self.hostname.partition("@")[0]
        if kind not in WORKERS:
            return  # a worker that an operator started by hand, with other queues
        redis = connect_redis(settings)
        heartbeats = WorkerHeartbeats(redis, settings.redis.key_prefix)
        keys = BrokerKeys(redis, settings.redis.key_prefix)

        def has_work() -> bool:
            keys.repair()  # those that only senders use
            return bool(state.requests) or heartbeats.tasks_wait(kind)

        def record() -> None:
            heartbeats.record(kind)
            self._heartbeat_file.work_moves()

        watch = StallWatch(
            has_work,
            seconds=settings.worker.stall_seconds,
            on_progress=record,
            on_wait=lambda: heartbeats.mark_waiting(kind),
            on_stall=_end_stalled,
        )
        threading.Thread(target=watch.run, name="stall watch", daemon=True).start()


class StallWatch:
    """Detects that there is work and nothing moves.

    It counts the time in which it runs itself, so that a suspended machine or a paused container is no stall.
    """

    def __init__(
        self,
        has_work: Callable[[], bool],
        *,
        seconds: float,
        on_progress: Callable[[], object],
        on_wait: Callable[[], object],
        on_stall: Callable[[], object],
    ) -> None:
        """
        Args:
            has_work: whether a task was received and has not ended, or waits in a queue of this worker.
            seconds: time without progress after which work counts as stalled.
            on_progress: called at each look while work moves or there is none.
            on_wait: called at each look while work waits.
            on_stall: called once.
        """
        self._has_work = has_work
        self._seconds = seconds
        self._on_progress = on_progress
        self._on_wait = on_wait
        self._on_stall = on_stall
        self._interval = min(_MAX_INTERVAL_SECONDS, seconds / _TICKS_PER_STALL)
        self._seen = last_progress()
        self._waited = 0.0

    def run(self) -> None:
        """Looks at each interval until work has stalled."""
        while not self.look():
            time.sleep(self._interval)
        self._on_stall()

    def look(self) -> bool:
        """Looks once, as if an interval had passed since the last look; returns whether work has stalled."""
        progress = last_progress()
        try:
            is_moving = progress != self._seen or not self._has_work()
            self._seen = progress
            if is_moving:
                self._waited = 0.0
                self._on_progress()
                return False
            self._waited += self._interval
            self._on_wait()
        except RedisError:  # a worker without Redis has no work
            self._waited = 0.0
        return self._waited > self._seconds


def _end_stalled() -> None:
    log.error("work.stalled")
    end_worker()
    time.sleep(_GRACE_SECONDS)
    for process in psutil.Process().children(recursive=True):  # they would survive as orphans
        with suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(EX_FAILURE)
