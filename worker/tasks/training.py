"""The training task. Runs are claimed from the database under a lease; the task is only a wake-up."""

from datetime import timedelta
from typing import Final

import structlog
from celery import shared_task

from triage.errors import ModelError, UsageError
from worker.broker.losses import record_success
from worker.broker.progress import record_progress
from worker.cores import count_cores
from worker.queues import TaskName
from worker.tasks.base import WorkerTask

log = structlog.get_logger(__name__)

MOST_DECODE_THREADS: Final = 16
"""Unless a setting says otherwise: each needs memory for a whole photo."""


@shared_task(name=TaskName.TRAIN, base=WorkerTask, bind=True)
def run(self: WorkerTask) -> None:
    """Trains the open runs, one at a time, until none is left."""
    from triage.training.run import Trainer, TrainerOptions  # deferred: imports torch
    from worker.inference import default_threads  # deferred: imports torch

    services, settings = self.services, self.services.settings
    options = TrainerOptions(
        folder=settings.training_folder,
        lease=timedelta(seconds=settings.training.lease_seconds),
        max_attempts=settings.training.max_attempts,
        limits=settings.image_limits,
        device=settings.training.device,
        threads=settings.training.threads or default_threads(),
        decode_threads=settings.training.decode_threads or min(count_cores(), MOST_DECODE_THREADS),
        mlflow_uri=settings.training.mlflow_uri.get_secret_value() if settings.training.mlflow_uri else None,
    )
    trainer = Trainer(
        services.engine,
        services.sessions,
        services.registry,
        options,
        source=services.source,
        on_progress=record_progress,
    )
    try:
        while trainer.train_next():
            record_success()
    except (ModelError, UsageError) as error:
        log.error("model.unavailable", error_type=type(error).__name__)
