"""Tasks of the inbox: `inbox.submit` accepts messages, `inbox.drain` scores, `inbox.sweep` recovers expired leases."""

import structlog
from celery import shared_task

from triage.domain.states import RunKind
from triage.errors import ModelError, TriageError
from triage.storage import runs
from worker.broker.liveness import Heartbeat
from worker.documents.messages import AcceptanceDocument
from worker.documents.submission import RejectionDocument, parse_submission
from worker.metrics import LEASES_EXPIRED
from worker.queues import TaskName
from worker.tasks.base import WorkerTask

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.SUBMIT, base=WorkerTask, bind=True, ignore_result=False)
def submit(self: WorkerTask, message: dict[str, object]) -> dict[str, object]:
    """Accepts a message with photos at allowed URIs. Redis holds ids and URIs, never photos.

    Args:
        message: a document as described by `worker.documents.submission.Submission`.

    Returns:
        The acceptance as `triage enqueue --json` prints it, or `{error: {code, message}}`. A sender that receives
        neither resubmits the message, which is idempotent.
    """
    try:
        submission = parse_submission(message)
        [acceptance] = self.services.intake.enqueue([submission.to_message()])
    except TriageError as error:
        log.warning("submission.refused", error_type=type(error).__name__)
        return RejectionDocument.of(error).json_types()
    log.info("message.accepted", message_id=str(acceptance.id), photos=len(acceptance.attachments))
    return AcceptanceDocument.of(acceptance).json_types()


@shared_task(name=TaskName.DRAIN, base=WorkerTask, bind=True)
def drain(self: WorkerTask) -> None:
    """Scores the inbox for a limited time, and publishes another wake-up if work may be left."""
    wake_ups = self.services.wake_ups
    wake_ups.received(TaskName.DRAIN)
    try:
        drained = self.services.scoring.drain()
    except ModelError as error:
        log.error("model.unavailable", error_type=type(error).__name__)
        return
    if drained.batches:
        recorded = drained.recorded
        log.info(
            "inbox.drained",
            batches=drained.batches,
            scored=recorded.scored,
            not_assessable=recorded.not_assessable,
            failed=recorded.failed,
            stale=recorded.stale,
            decided=recorded.decided,
            flagged=recorded.flagged,
            duration_ms=round(drained.seconds * 1000),
            network_ms=round(drained.network_seconds * 1000),
        )
    if drained.unfinished:
        wake_ups.inbox()


@shared_task(name=TaskName.SWEEP, base=WorkerTask, bind=True)
def sweep(self: WorkerTask) -> None:
    """Returns photos with expired leases to the inbox, and wakes the workers that have work."""
    services = self.services
    swept = services.inbox.sweep()
    with services.sessions() as session:
        rescoring = runs.is_open(session, RunKind.RESCORING)
        training = runs.is_claimable(session, RunKind.TRAINING)
    LEASES_EXPIRED.labels("requeued").inc(swept.requeued)
    LEASES_EXPIRED.labels("parked").inc(swept.parked)
    if swept.requeued or swept.parked:
        log.warning("lease.expired", requeued=swept.requeued, parked=swept.parked)
    services.liveness.record(Heartbeat.INTAKE)
    if swept.due or rescoring:
        services.wake_ups.inbox()
    if training:
        services.wake_ups.training()
