"""Start-up of a worker's child process: opens the port for metrics and loads the live model."""

import structlog
from celery import current_app
from celery.signals import worker_process_init

from triage.errors import TriageError, UsageError
from triage.storage.database import database_errors
from worker.metrics import serve
from worker.queues import QueueName
from worker.tasks.base import services_of

log = structlog.get_logger(__name__)


@worker_process_init.connect
def open_metrics(**_: object) -> None:
    """Serves the metrics of this process if the settings name a port. A failure does not stop the worker."""
    settings = services_of(current_app).settings.metrics
    if settings.worker_port is None:
        return
    try:
        log.info("metrics.started", port=serve(settings.host, settings.worker_port))
    except UsageError as error:
        log.warning("metrics.unavailable", error_type=type(error).__name__)


@worker_process_init.connect
def load_model_early(**_: object) -> None:
    """Loads the live model before the first photo arrives, if this process consumes the inbox."""
    if QueueName.INBOX not in current_app.amqp.queues.consume_from:
        return
    try:
        with database_errors():
            services_of(current_app).scoring.live_assessor()
    except TriageError as error:
        log.warning("model.unavailable", error_type=type(error).__name__, kind=getattr(error, "kind", None))
