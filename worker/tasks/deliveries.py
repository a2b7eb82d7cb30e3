"""The task that sends events to other systems. Deliveries are claimed from the database; the task is only a wake-up."""

import structlog
from celery import shared_task

from worker.broker.progress import record_progress
from worker.metrics import DELIVERIES
from worker.queues import TaskName
from worker.tasks.base import WorkerTask

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.DELIVER, base=WorkerTask, bind=True)
def send(self: WorkerTask) -> None:
    """Sends what is due to each configured target for a limited time, and publishes itself again if more is."""
    services = self.services
    unfinished = False
    for target, dispatcher in services.dispatchers(on_progress=record_progress).items():
        sent = dispatcher.dispatch(seconds=services.settings.inbox.drain_seconds)
        DELIVERIES.labels(target, "delivered").inc(sent.delivered)
        for error, number in sent.errors.items():
            DELIVERIES.labels(target, error.value).inc(number)
        if sent.delivered or sent.failed or sent.dead or sent.dropped:
            log.info(
                "events.sent",
                target=target,
                delivered=sent.delivered,
                failed=sent.failed,
                dead=sent.dead,
                dropped=sent.dropped,
                stale=sent.stale,
                reasons={error.value: number for error, number in sorted(sent.errors.items())},
            )
        if sent.dead:
            log.warning("events.died", target=target, dead=sent.dead)
        unfinished = unfinished or sent.unfinished
    if unfinished:
        services.wake_ups.deliveries()
