"""The nightly rescoring: beat starts one run for a night and model; scoring workers do it between inbox batches."""

import structlog
from celery import shared_task

from triage.errors import ServiceUnavailableError
from triage.scoring.rescoring import start_rescoring
from triage.storage import model_versions as models
from triage.storage import runs
from triage.storage.database import database_errors
from worker.services import services

log = structlog.get_logger(__name__)


@shared_task(name="rescoring.start")
def start() -> None:
    """Starts tonight's run of the live model. A second beat finds it there already."""
    own = services()
    try:
        with database_errors(), own.sessions.begin() as session:
            live = models.live(session)
            if live is None:
                log.warning("rescoring.skipped", kind="no_live_model")
                return
            run, created = start_rescoring(session, live.id, night=runs.tonight(session))
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
        return
    if created:
        log.info("rescoring.started", run_id=str(run.id), model_version=str(live.id))
    own.wake_ups.inbox()
