"""The task that starts the nightly rescoring. Scoring workers do the run between batches of the inbox."""

import structlog
from celery import shared_task

from triage.errors import NoLiveModelError
from triage.scoring.start import start_nightly_rescoring
from worker.queues import TaskName
from worker.tasks.base import WorkerTask

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.RESCORE, base=WorkerTask, bind=True)
def start(self: WorkerTask) -> None:
    """Starts tonight's run of the live model. A second call in the same night has no effect."""
    try:
        run, created = start_nightly_rescoring(self.services.sessions, actor="beat")
    except NoLiveModelError:
        log.warning("rescoring.skipped", kind="no_live_model")
        return
    if created:
        log.info("rescoring.started", run_id=str(run.id), model_version=str(run.parameters["model_version_id"]))
    self.services.wake_ups.inbox()
