"""The Celery app. `celery -A worker.app` loads it; `triage worker` starts a worker with the queues of its kind.

The settings below avoid failures that were measured, see docs/decisions/0002-keep-the-queue-in-postgres.md.
"""

import sys
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from celery.schedules import crontab
from celery.signals import setup_logging
from kombu.entity import Exchange, Queue

from triage.errors import TriageError
from worker.broker.beat import Interval
from worker.broker.celery_logs import celery_event, let_pool_log
from worker.broker.guard import restrict_remote_control
from worker.broker.redis_client import tls_options
from worker.broker.results import SCHEMES
from worker.broker.signing import sign_messages
from worker.hints import with_hint
from worker.logging import configure_logging
from worker.queues import ROUTES, WORKERS, QueueName, TaskName
from worker.settings import Settings, load_settings


class _App(Celery):  # type: ignore[misc]  # Celery has no type hints
    @cached_property
    def Worker(self) -> type:  # noqa: N802  # Celery's name
        return self.subclass_with_self("worker.broker.guarded_worker:GuardedWorker")  # type: ignore[no-any-return]


def create_app(settings: Settings) -> Celery:
    """Makes the Celery app of a process. It has no global effect.

    Its attribute `settings` holds the settings, for beat's scheduler and the tasks.

    Raises:
        UsageError: a file for signing cannot be read.
    """
    app = _App("triage", set_as_current=False, include=["worker.tasks"], amqp="worker.broker.guard:GuardedAMQP")
    app.settings = settings
    timeout, tls = settings.redis.socket_timeout_seconds, tls_options(settings) or None
    app.conf.update(
        broker_url=_celery_url(settings.redis_url),
        result_backend=_celery_url(settings.redis_url),
        broker_use_ssl=tls,
        redis_backend_use_ssl=tls,
        # JSON only: data in Redis cannot make a worker execute code
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        # a busy worker prefetches nothing, so that an idle worker receives the next wake-up
        worker_prefetch_multiplier=1,
        # acknowledged on receipt: rows with leases are the record of work, and a redelivered task is only a wake-up
        task_acks_late=False,
        task_ignore_result=True,
        result_expires=3600,
        task_create_missing_queues=False,
        task_queues=[Queue(name, Exchange(name), name) for queues in WORKERS.values() for name in queues],
        task_default_queue=QueueName.MAINTENANCE,
        task_routes={task: {"queue": queue} for task, queue in ROUTES.items()},
        # publishing fails at once while Redis is down: the next sweep finds the rows
        task_publish_retry=False,
        broker_connection_timeout=timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": settings.redis.key_prefix,
            "visibility_timeout": 3600,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "health_check_interval": 30,
            "retry_on_timeout": True,
        },
        result_backend_transport_options={"global_keyprefix": settings.redis.key_prefix},
        redis_socket_timeout=timeout,
        redis_socket_connect_timeout=timeout,
        redis_socket_keepalive=urlsplit(settings.redis_url).scheme != "unix",
        redis_backend_health_check_interval=30,
        redis_retry_on_timeout=True,
        # on SIGTERM the current batch can finish; after the timeout its photos return when their lease expires
        worker_soft_shutdown_timeout=settings.inbox.drain_seconds + 10,
        worker_enable_soft_shutdown_on_idle=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # a child imports torch and loads the model before it reports that it is ready
        worker_proc_alive_timeout=180,
        worker_consumer="worker.broker.guarded_worker:GuardedConsumer",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        timezone="UTC",
        beat_scheduler="worker.broker.beat:Scheduler",
        beat_schedule=_schedule(settings),
        beat_max_loop_interval=max(1.0, settings.inbox.sweep_seconds),
    )
    app.loader.override_backends = dict.fromkeys(SCHEMES, "worker.broker.results:ErrorTypeBackend")
    sign_messages(app, settings)
    return app


def _schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    return {
        # without `expires`, because clocks of two hosts may differ; the scheduler skips a sweep while one is waiting
        TaskName.SWEEP: {"task": TaskName.SWEEP, "schedule": Interval(settings.inbox.sweep_seconds)},
        # every ten minutes of the hour, so that a restarted beat misses no night; a run's key makes it one per night
        "rescoring.nightly": {
            "task": TaskName.RESCORE,
            "schedule": crontab(hour=str(settings.schedule.rescoring_hour_utc), minute="*/10"),
        },
        "retention.nightly": {
            "task": TaskName.PURGE,
            "schedule": crontab(hour=str(settings.schedule.purge_hour_utc), minute="0"),
        },
    }


def _celery_url(url: str) -> str:
    """Celery has its own scheme for a Redis URL of a Unix socket."""
    parts = urlsplit(url)
    return f"redis+socket://{parts.path}" if parts.scheme == "unix" else url


def __getattr__(name: str) -> Celery:
    """Makes `app` when `celery -A worker.app` looks it up, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(name)
    try:
        settings = load_settings()
        _ = settings.catalogue  # a worker does not start with malformed texts
        configure = partial(configure_logging, settings.log.level, settings.log.format, translate=celery_event)
        configure()  # Celery warns before it sends the signal
        app = create_app(settings)
    except TriageError as error:  # Celery would print a traceback
        sys.stderr.write(f"triage: {with_hint(error)}\n")
        sys.exit(2)
    restrict_remote_control()
    app.set_current()
    # Celery configures no logging if the signal has a receiver, but resets the logger of the pool before
    setup_logging.connect(lambda **_: let_pool_log(), weak=False, dispatch_uid="triage")
    globals()["app"] = app
    return app
