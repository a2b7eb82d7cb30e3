"""The nightly rescoring: beat starts one run per night and model; scoring workers process it between inbox batches."""

import structlog
from celery import shared_task

from triage.errors import NoLiveModelError, ServiceUnavailableError
from triage.scoring.start import start_nightly_rescoring
from triage.storage.database import database_errors
from worker.queues import RESCORE
from worker.services import services

log = structlog.get_logger(__name__)


@shared_task(name=RESCORE)
def start() -> None:
    """Starts tonight's run of the live model. A second call in the same night has no effect."""
    own = services()
    try:
        with database_errors():
            run, created = start_nightly_rescoring(own.sessions, actor="beat")
    except NoLiveModelError:
        log.warning("rescoring.skipped", kind="no_live_model")
        return
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
        return
    if created:
        log.info("rescoring.started", run_id=str(run.id), model_version=str(run.parameters["model_version_id"]))
    own.wake_ups.inbox()
