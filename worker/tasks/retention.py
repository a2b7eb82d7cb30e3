"""The nightly purge, in short turns, so that messages and sweeps do not wait for it."""

import structlog
from celery import shared_task

from triage.errors import ServiceUnavailableError
from triage.storage import audit
from triage.storage.database import database_errors
from worker.services import services

log = structlog.get_logger(__name__)


@shared_task(name="retention.purge")
def purge() -> None:
    """Removes photos whose time is over, and asks for another turn if some are left.

    Notes the head of the audit trail in the log, which others keep: what is cut off or written anew below it shows.
    """
    own = services()
    try:
        with database_errors():
            purged = own.retention.purge(actor="beat", seconds=own.settings.inbox.sweep_seconds)
            with own.sessions() as session:
                head = audit.head(session)
    except ServiceUnavailableError as error:
        log.warning("purge.failed", error_type=type(error).__name__)
        return
    if purged.photos or purged.strays:
        log.info("photos.purged", photos=purged.photos, bytes=purged.bytes, strays=purged.strays)
    log.info("audit.noted", position=head.position, head=head.hash)
    if purged.unfinished:
        purge.delay()
