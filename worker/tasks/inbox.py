"""Tasks of the inbox: `inbox.submit` accepts messages, `inbox.drain` scores, `inbox.sweep` recovers expired leases."""

import structlog
from celery import shared_task

from triage.arrivals.announce import has_work
from triage.deliveries import manage as deliveries
from triage.domain.states import RunKind
from triage.errors import ModelError, UsageError
from triage.storage import runs
from worker.broker.liveness import Heartbeat
from worker.documents.messages import AcceptanceDocument
from worker.documents.submission import Submission
from worker.metrics import LEASES_EXPIRED
from worker.queues import TaskName
from worker.services import FHIR
from worker.tasks.base import WorkerServices, WorkerTask, sender_task

log = structlog.get_logger(__name__)


@sender_task(TaskName.SUBMIT)
def submit(self: WorkerTask, document: object) -> AcceptanceDocument:
    """Accepts a message with photos at allowed URIs. Redis holds ids and URIs, never photos.

    A sender that receives no answer resubmits the message, which is idempotent.
    """
    [acceptance] = self.services.intake.enqueue([Submission.parse(document).to_message()])
    log.info("message.accepted", message_id=str(acceptance.id), photos=len(acceptance.attachments))
    return AcceptanceDocument.of(acceptance)


@shared_task(name=TaskName.DRAIN, base=WorkerTask, bind=True)
def drain(self: WorkerTask) -> None:
    """Scores the inbox for a limited time, and publishes another wake-up if work may be left."""
    wake_ups = self.services.wake_ups
    wake_ups.received(TaskName.DRAIN)
    try:
        drained = self.services.scoring.drain()
    except (ModelError, UsageError) as error:
        log.error("model.unavailable", error_type=type(error).__name__)
        return
    if drained.batches:
        recorded = drained.recorded
        log.info(
            "inbox.drained",
            batches=drained.batches,
            photos=recorded.photos,
            scored=recorded.scored,
            not_assessable=recorded.not_assessable,
            failed=recorded.failed,
            stale=recorded.stale,
            reasons={code.value: n for code, n in sorted(recorded.reasons.items())},
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
    services.assessments.sweep()
    with services.sessions() as session:
        rescoring = runs.is_open(session, RunKind.RESCORING)
        training = runs.is_claimable(session, RunKind.TRAINING)
    LEASES_EXPIRED.labels("requeued").inc(swept.requeued)
    LEASES_EXPIRED.labels("parked").inc(swept.parked)
    if swept.requeued or swept.parked:
        log.warning("lease.expired", requeued=swept.requeued, parked=swept.parked)
    due = [target for target in services.targets if _has_events(services, target)]
    services.liveness.record(Heartbeat.INTAKE)
    if swept.due or rescoring:
        services.wake_ups.inbox()
    if training:
        services.wake_ups.training()
    if due:
        services.wake_ups.deliveries()
    fhir = services.settings.fhir
    if fhir.is_on and has_work(services.sessions, fhir.source, searches=fhir.is_searched):
        services.wake_ups.arrivals()


def _has_events(services: WorkerServices, target: str) -> bool:
    collects = services.settings.fhir.collected if target == FHIR else None
    if deliveries.register(services.sessions, target, collects=collects):
        log.info("target.registered", target=target)
    return deliveries.is_due(services.sessions, target)
