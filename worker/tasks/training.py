"""The training task: takes the next run under its lease and trains; the row, not the message, is the record."""

import structlog
from celery import shared_task

from triage.errors import ServiceUnavailableError
from triage.storage.database import database_errors
from worker.queues import TRAIN
from worker.services import services

log = structlog.get_logger(__name__)


@shared_task(name=TRAIN)
def run() -> None:
    """Works off training runs, one at a time, until none waits."""
    from triage.training.run import train_next  # torch is imported in the process that trains, and in no other

    own = services()
    try:
        with database_errors():
            while train_next(own):
                pass
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
