"""The inbox's tasks: `inbox.submit` for senders, `inbox.drain` as the wake-up, `inbox.sweep` for what was lost."""

import structlog
from celery import current_app, shared_task
from celery.signals import worker_process_init

from triage.domain.states import RunKind
from triage.errors import ModelError, ServiceUnavailableError, TriageError, UsageError
from triage.storage import runs
from triage.storage.database import database_errors
from worker.broker.liveness import Sign
from worker.documents import parse_submission
from worker.metrics import LEASES_EXPIRED, serve
from worker.queues import DRAIN, INBOX
from worker.services import services

log = structlog.get_logger(__name__)


@shared_task(name="inbox.submit", ignore_result=False)
def submit(message: dict[str, object]) -> dict[str, object]:
    """Accepts a message whose photos are at allowed URIs. Redis carries ids and URIs, never photos.

    Args:
        message: see `worker.documents.Submission`.

    Returns:
        `{message_id, attachments, created}`, or `{error: {code, message}}`. A sender that gets neither sends again:
        the same ids change nothing.
    """
    try:
        submission = parse_submission(message)
        with database_errors():
            [acceptance] = services().intake.enqueue([submission.to_message()])
    except TriageError as error:
        log.warning("submission.refused", error_type=type(error).__name__)
        code = "unavailable" if isinstance(error, ServiceUnavailableError) else "invalid"
        return {"error": {"code": code, "message": str(error)}}
    log.info("message.accepted", message_id=str(acceptance.id), photos=len(acceptance.attachments))
    return {
        "message_id": acceptance.external_id,
        "attachments": [{"id": str(a.id), "attachment_id": a.external_id} for a in acceptance.attachments],
        "created": acceptance.created,
    }


@shared_task(name=DRAIN)
def drain() -> None:
    """Works off the inbox for a bounded time; asks for another wake-up if something may be left."""
    own = services()
    own.wake_ups.taken_up(DRAIN)
    try:
        with database_errors():
            drained = own.scoring.drain()
    except ModelError as error:
        log.error("model.unavailable", error_type=type(error).__name__)
        return
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
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
        own.wake_ups.inbox()


@shared_task(name="inbox.sweep")
def sweep() -> None:
    """Gives expired leases back and wakes a worker for whatever waits."""
    own = services()
    try:
        with database_errors():
            swept = own.inbox.sweep()
            with own.sessions() as session:
                rescoring = runs.is_open(session, RunKind.RESCORING)
                training = runs.is_claimable(session, RunKind.TRAINING)
    except ServiceUnavailableError as error:
        log.warning("postgres.unavailable", error_type=type(error).__name__)
        return
    LEASES_EXPIRED.labels("requeued").inc(swept.requeued)
    LEASES_EXPIRED.labels("parked").inc(swept.parked)
    if swept.requeued or swept.parked:
        log.warning("lease.expired", requeued=swept.requeued, parked=swept.parked)
    own.pulse.give(Sign.INTAKE)
    if swept.due or rescoring:
        own.wake_ups.inbox()
    if training:
        own.wake_ups.training()


@worker_process_init.connect
def open_metrics(**_: object) -> None:
    """Serves this child's metrics, if a port was given. A port that is taken is no reason not to score."""
    settings = services().settings.metrics
    if settings.worker_port is None:
        return
    try:
        serve(settings.host, settings.worker_port)
    except UsageError as error:
        log.warning("metrics.unavailable", error_type=type(error).__name__)


@worker_process_init.connect
def load_model_early(**_: object) -> None:
    """Loads the live model before the first photo comes, in a child that serves the inbox."""
    if INBOX not in current_app.amqp.queues.consume_from:
        return
    try:
        with database_errors():
            services().scoring.live_assessor()
    except TriageError as error:
        log.warning("model.unavailable", error_type=type(error).__name__)
