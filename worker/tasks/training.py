"""The training task: takes the next run under its lease and trains; the row, not the message, is the record."""

from datetime import timedelta

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
    from triage.training.run import Trainer, TrainerOptions  # deferred: imports torch

    parts = services()
    settings = parts.settings
    trainer = Trainer(
        parts.engine,
        parts.sessions,
        parts.registry,
        TrainerOptions(
            folder=settings.training_folder,
            lease=timedelta(seconds=settings.training.lease_seconds),
            max_attempts=settings.training.max_attempts,
            limits=settings.image_limits,
            device=settings.training.device,
            threads=settings.training.threads,
        ),
    )
    try:
        with database_errors():
            while trainer.train_next():
                pass
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
