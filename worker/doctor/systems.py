"""Checks of what is exchanged with other systems and patients."""

from datetime import UTC, datetime, timedelta
from typing import Final

from triage.domain.states import ArrivalStatus, DeliveryStatus
from triage.storage import arrivals, deliveries
from worker.doctor.problems import ProblemError
from worker.services import Services
from worker.settings import Settings

_DELIVERY_LATE: Final = timedelta(hours=1)
_ARRIVAL_LATE: Final = timedelta(hours=1)
_SEARCH_LATE: Final = timedelta(minutes=30)


def check_replies(settings: Settings) -> str:
    """Names the languages, and those that no reviewer has signed in their current version."""
    texts = settings.catalogue.locales.values()
    drafts = [each.tag for each in texts if each.review is None]
    not_reviewed = f"; drafts that no clinician has reviewed: {', '.join(drafts)}" if drafts else ""
    return f"{', '.join(each.tag for each in texts)}{not_reviewed}"


def check_deliveries(services: Services) -> str:
    """Examines the events for other systems: is each target known here, and does it accept them?"""
    with services.sessions() as session:
        registered = deliveries.targets(session)
        now = datetime.now(UTC)
        counts = deliveries.count_by_state(session, closed_since=now)
    if not registered:
        return "no target" if not services.targets else "the first sweep registers the target"
    if unknown := [target for target in registered if target not in services.targets]:
        raise ProblemError(
            f"events are stored for {', '.join(unknown)}, and these settings do not name it",
            "set the variables of this target for all workers, or run `triage deliveries stop TARGET`",
        )
    dead = sum(each.n for each in counts if each.status == DeliveryStatus.DEAD)
    if dead:
        raise ProblemError(
            f"{dead:,} event{' is' if dead == 1 else 's are'} dead: all attempts to send failed",
            "run `triage deliveries list --status dead`, then `triage deliveries retry --dead` or `drop --dead`",
        )
    waiting = [each for each in counts if each.status == DeliveryStatus.PENDING]
    if late := [each.target for each in waiting if now - each.oldest > _DELIVERY_LATE]:
        raise ProblemError(
            f"{', '.join(late)} has not accepted an event for over an hour",
            "run `triage deliveries list --status pending` to see the error, and check the receiver",
        )
    return ", ".join(f"{target}: {sum(e.n for e in waiting if e.target == target):,} waiting" for target in registered)


def check_fhir_server(services: Services) -> str:
    """Asks the EHR's FHIR server what it is, with a token, and whether it gives messages."""
    if not services.settings.fhir.is_on:
        return "none"
    version = services.fhir.capabilities().get("fhirVersion")
    if not (isinstance(version, str) and version.startswith("4.0")):
        raise ProblemError(
            "the FHIR server does not serve R4 (4.0)", "set TRIAGE_FHIR__URL to the base of its R4 version"
        )
    if services.settings.fhir.poll_query is None:
        services.inbound.check_rights()
    elif services.inbound.ignores_cursor():
        raise ProblemError(
            "the FHIR server ignores the cursor, so that each search reads all messages",
            "run `triage fhir check` to see which TRIAGE_FHIR__POLL_CURSOR it applies",
        )
    return f"serves {version} and gives tokens"


def check_subscription(services: Services) -> str:
    """Asks the EHR's FHIR server for the state of this product's subscription."""
    fhir = services.settings.fhir
    if fhir.hook_url is None:
        return "none"
    from worker.fhir.reading.subscription import find  # deferred: imports httpx2

    status = find(services.fhir, fhir).status
    if status is None:
        raise ProblemError(
            "the FHIR server has no subscription of this product", "run `triage fhir subscribe` to see the reason"
        )
    if status in {"off", "error"}:
        raise ProblemError(
            f"the FHIR server has switched the subscription to {status}",
            "it is renewed at the next search; check that the server reaches TRIAGE_FHIR__HOOK_URL with its key",
        )
    return status


def check_arrivals(services: Services) -> str:
    """Examines the messages that other systems hold: can they be read?"""
    with services.sessions() as session:
        counts, searched = arrivals.count_by_state(session), arrivals.searched_up_to(session)
    fhir, now = services.settings.fhir, datetime.now(UTC)
    dead = sum(each.n for each in counts if each.status is ArrivalStatus.DEAD)
    if dead:
        raise ProblemError(
            f"{dead:,} message{' of another system is' if dead == 1 else 's of other systems are'} dead: malformed or "
            "rejected",
            "run `triage arrivals list --status dead`; each is read again when it changes there, or by "
            "`triage arrivals retry --dead`",
        )
    waiting = [each for each in counts if each.status is ArrivalStatus.PENDING]
    if late := [each.source for each in waiting if now - each.oldest > _ARRIVAL_LATE]:
        raise ProblemError(
            f"messages of {', '.join(late)} have waited to be read for over an hour",
            "check the server, and that a delivery worker runs with TRIAGE_FHIR__URL: its log has the reason; "
            "`triage arrivals drop ID` gives up a message that the server does not have",
        )
    limit = _SEARCH_LATE.total_seconds() + 2 * fhir.poll_seconds
    if fhir.poll_query is not None and searched.get(fhir.source, 0) > limit:
        raise ProblemError(
            f"{fhir.source} was not searched for {timedelta(seconds=round(searched[fhir.source]))}",
            "check the server and TRIAGE_FHIR__POLL_QUERY: the log of the delivery worker has the reason",
        )
    return f"{sum(each.n for each in waiting):,} waiting"
