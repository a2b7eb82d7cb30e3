"""The nightly purge. It runs in short turns, so that submissions and sweeps do not wait for it."""

from typing import Final

import structlog
from celery import shared_task

from triage.storage import audit
from worker.queues import TaskName
from worker.tasks.base import WorkerTask

log = structlog.get_logger(__name__)

_MAX_TURN_SECONDS: Final = 60.0  # a turn shows no progress until it ends


@shared_task(name=TaskName.PURGE, base=WorkerTask, bind=True)
def purge(self: WorkerTask) -> None:
    """Deletes expired photos, and publishes itself again if some are left.

    Also logs the head of the audit trail: a copy of the log shows later whether events were rewritten or cut off.
    """
    services = self.services
    seconds = min(services.settings.inbox.sweep_seconds, _MAX_TURN_SECONDS)
    purged = services.retention.purge(actor="beat", seconds=seconds)
    with services.sessions() as session:
        head = audit.head(session)
    if purged.photos or purged.strays:
        log.info("photos.purged", photos=purged.photos, bytes=purged.bytes, strays=purged.strays)
    log.info("audit.noted", position=head.position, head=head.hash)
    if purged.unfinished:
        self.delay()
