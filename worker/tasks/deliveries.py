"""The task that sends events to other systems. Deliveries are claimed from the database; the task is only a wake-up."""

import structlog
from celery import shared_task

from triage.deliveries.dispatch import Dispatched
from triage.errors import DatabaseUnavailableError, ServiceUnavailableError, UsageError
from worker.broker.progress import record_progress
from worker.metrics import DELIVERIES
from worker.queues import TaskName
from worker.tasks.base import WorkerServices, WorkerTask

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.DELIVER, base=WorkerTask, bind=True)
def send(self: WorkerTask) -> None:
    """Sends what is due to each configured target for a limited time, and publishes itself again if more is."""
    services = self.services
    sent = [_send(services, target) for target in services.targets]
    if any(each.unfinished for each in sent):
        services.wake_ups.deliveries()


def _send(services: WorkerServices, target: str) -> Dispatched:
    """A target whose settings are wrong is logged, and does not keep others from being notified."""
    try:
        sent = services.dispatcher(target, on_progress=record_progress).dispatch(
            seconds=services.settings.inbox.drain_seconds
        )
    except DatabaseUnavailableError:
        raise
    except (ServiceUnavailableError, UsageError) as error:
        log.error("target.unavailable", target=target, error_type=type(error).__name__)
        return Dispatched()
    DELIVERIES.labels(target, "delivered").inc(sent.delivered)
    for reason, number in sent.errors.items():
        DELIVERIES.labels(target, reason.value).inc(number)
    if sent.delivered or sent.failed or sent.dead or sent.dropped:
        log.info(
            "events.sent",
            target=target,
            delivered=sent.delivered,
            failed=sent.failed,
            dead=sent.dead,
            dropped=sent.dropped,
            stale=sent.stale,
            reasons={reason.value: number for reason, number in sorted(sent.errors.items())},
        )
    if sent.dead:
        log.warning("events.died", target=target, dead=sent.dead)
    return sent
