"""The task that reads messages on the EHR's FHIR server. They are claimed from the database; the task is a wake-up."""

from datetime import timedelta

import structlog
from celery import shared_task

from triage.arrivals.reading import Collector
from triage.arrivals.search import Searcher
from triage.errors import DatabaseUnavailableError, ServiceUnavailableError, TriageError
from worker.broker.progress import record_progress
from worker.metrics import ARRIVALS
from worker.queues import TaskName
from worker.tasks.base import WorkerServices, WorkerTask

log = structlog.get_logger(__name__)


@shared_task(name=TaskName.COLLECT, base=WorkerTask, bind=True)
def collect(self: WorkerTask) -> None:
    """Searches the server if it is time, then reads what is due, for a limited time; publishes itself if more is."""
    services = self.services
    settings = services.settings
    if not settings.fhir.is_on:
        return
    if settings.fhir.is_searched:
        _search(services)
    collector = Collector(
        services.sessions,
        services.intake,
        settings.fhir.source,
        services.inbound,
        settings.retake_policy,
        on_progress=record_progress,
    )
    collected = collector.collect(seconds=settings.inbox.drain_seconds)
    for result in ("done", "ignored", "postponed", "dead"):
        ARRIVALS.labels(settings.fhir.source, result).inc(getattr(collected, result))
    if collected.done or collected.ignored or collected.postponed or collected.dead:
        log.info(
            "arrivals.read",
            target=settings.fhir.source,
            done=collected.done,
            ignored=collected.ignored,
            postponed=collected.postponed,
            stale=collected.stale,
        )
    if collected.dead:
        reasons = {error.value: number for error, number in sorted(collected.reasons.items())}
        log.warning("arrivals.died", target=settings.fhir.source, dead=collected.dead, reasons=reasons)
    if collected.unfinished:
        services.wake_ups.arrivals()


def _search(services: WorkerServices) -> None:
    """A search that fails is logged and repeated: what was announced is read all the same."""
    fhir = services.settings.fhir
    searcher = Searcher(
        services.sessions,
        fhir.source,
        services.inbound,
        interval=timedelta(seconds=fhir.poll_seconds),
        overlap=timedelta(seconds=fhir.poll_overlap_seconds),
    )
    try:
        due = searcher.search()
    except DatabaseUnavailableError:
        raise
    except TriageError as error:
        kind = error.kind if isinstance(error, ServiceUnavailableError) else None
        log.warning("search.failed", target=fhir.source, error_type=type(error).__name__, kind=kind)
    else:
        if due is None:  # it is not time
            return
        if due:
            log.info("search.finished", target=fhir.source, due=due)
    if fhir.hook_url is not None:
        _subscribe(services)


def _subscribe(services: WorkerServices) -> None:
    """After each search, also one that failed: notifications of new messages must not depend on it.

    The next complete search finds what a subscription that is off did not notify of.
    """
    from worker.fhir.reading.subscription import Change, subscribe  # deferred: imports httpx2

    target = services.settings.fhir.source
    try:
        subscribed = subscribe(services.fhir, services.settings.fhir)
    except TriageError as error:
        log.warning("subscription.failed", target=target, error_type=type(error).__name__)
        return
    if subscribed.change is Change.RENEWED:
        log.warning("subscription.renewed", target=target, kind=subscribed.status)
    elif subscribed.change is Change.CREATED:
        log.info("subscription.created", target=target)
