"""Use cases of people and workers for deliveries: targets, list, retry, drop.

Each function is one transaction, which includes an audit event if a person changes something.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.deliveries import Delivery
from triage.domain.ids import EventId, new_id
from triage.domain.states import DeliveryStatus
from triage.domain.text import check_word
from triage.errors import UsageError
from triage.storage import audit, deliveries
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class Stopped:
    """A target that gets no more events. `dropped` is the number of deliveries that waited for it."""

    target: str
    dropped: int


@use_case
def register(sessions: Sessions, target: str, *, collects: str | None = None) -> bool:
    """Adds a target, which gets all events from now on; returns whether it is new. Idempotent.

    Args:
        sessions: of the worker role.
        target: its name.
        collects: the source whose retake requests it gets. Message systems can no longer claim them.

    Raises:
        UsageError: an argument is malformed.
    """
    check_word(target, "target")
    if collects is not None:
        check_word(collects, "source")
    with sessions.begin() as session:
        return deliveries.register(session, target, collects=collects)


@use_case
def is_due(sessions: Sessions, target: str) -> bool:
    """Returns whether an event can be sent to this target now."""
    with sessions() as session:
        return deliveries.is_due(session, target)


@use_case
def list_deliveries(
    sessions: Sessions, *, status: DeliveryStatus | None = None, target: str | None = None, limit: int
) -> list[Delivery]:
    """Returns deliveries, newest first, optionally of one status and for one target only."""
    with sessions() as session:
        return deliveries.list_deliveries(session, status=status, target=target, limit=limit)


@use_case
def retry(
    sessions: Sessions, *, event_id: EventId | None = None, target: str | None = None, by: str
) -> Sequence[EventId]:
    """Makes a delivery due now that is dead or waits for its next attempt, or all dead ones, with all its time.

    Args:
        sessions: of the worker role.
        event_id: the event; if None, all dead ones.
        target: only deliveries for this target.
        by: actor id for the audit trail.

    Returns:
        The events that are due now.

    Raises:
        UsageError: `by` is malformed, or the event is unknown, delivered, dropped or being sent now.
    """
    return _change(sessions, deliveries.retry, "retried", event_id, target, by)


@use_case
def drop(
    sessions: Sessions, *, event_id: EventId | None = None, target: str | None = None, by: str
) -> Sequence[EventId]:
    """Gives up a delivery that is dead or waits, or all dead ones. Dropped events are never sent.

    Args:
        sessions: of the worker role.
        event_id: the event; if None, all dead ones.
        target: only deliveries for this target.
        by: actor id for the audit trail.

    Returns:
        The events that are dropped now.

    Raises:
        UsageError: `by` is malformed, or the event is unknown, delivered or dropped already.
    """
    return _change(sessions, deliveries.drop, "dropped", event_id, target, by)


@use_case
def stop(sessions: Sessions, target: str, *, by: str) -> Stopped:
    """Removes a target: it gets no more events, and those that wait for it are dropped.

    Args:
        sessions: of the worker role.
        target: its name.
        by: actor id for the audit trail.

    Raises:
        UsageError: there is no such target, or an argument is malformed.
    """
    check_actor(by)
    check_word(target, "target")
    with sessions.begin() as session:
        if not deliveries.unregister(session, target):
            known = ", ".join(deliveries.targets(session)) or "there is none"
            raise UsageError(f"no such target: {known}")
        dropped = deliveries.drop_all(session, target)
        audit.record(
            session,
            actor=by,
            action="target.stopped",
            subject_kind="target",
            subject_id=new_id(),
            target=target,
            dropped=dropped,
        )
    return Stopped(target, dropped)


def _change(
    sessions: Sessions,
    change: Callable[..., list[EventId]],
    verb: str,
    event_id: EventId | None,
    target: str | None,
    by: str,
) -> list[EventId]:
    check_actor(by)
    with sessions.begin() as session:
        changed = change(session, event_id=event_id, target=target)
        if event_id is not None and not changed:
            raise UsageError(_why_not(session, event_id, verb))
        audit.record_change_of(
            session, actor=by, verb=verb, kind="delivery", kinds="deliveries", one=event_id, n_changed=len(changed)
        )
    return changed


def _why_not(session: Session, event_id: EventId, verb: str) -> str:
    found = deliveries.find(session, event_id)
    if found is None:
        return "no delivery has this event id: list the deliveries and check the id"
    if found.status is DeliveryStatus.PENDING:
        return "the event is being sent now: list it again in a minute"
    return f"the event cannot be {verb}: it is {found.status.value}"
