"""Deliveries: events for other systems, stored in the transaction of what happened, claimed under a lease and sent.

A row names the decision or the retake request, and the event is read from those when it is sent. So a row holds nothing
that forgetting a message would have to erase.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    SmallInteger,
    Text,
    Update,
    and_,
    case,
    delete,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session
from sqlalchemy.types import Float, Uuid

from triage.domain.card import label_of
from triage.domain.deliveries import (
    Attempted,
    ClaimedDelivery,
    Delivery,
    Event,
    EventDecision,
    EventRequest,
    NewEvent,
)
from triage.domain.ids import DecisionId, EventId, LeaseToken, MessageId, RetakeRequestId, new_id
from triage.domain.states import DecidedBy, DeliveryError, DeliveryStatus, EventKind, Outcome, Reason
from triage.storage import tables
from triage.storage.database import recordset
from triage.storage.tables import CLOSED_DELIVERY, DEAD, UNDELIVERED, DeliveryTarget, Message, ModelVersion, Thread

_Row: Final = tables.Delivery
_NO_SYNC: Final = {"synchronize_session": False}


def register(session: Session, target: str, *, collects: str | None = None) -> bool:
    """Adds a target, which gets all events from now on; returns whether it is new.

    Args:
        session: of the caller's transaction.
        target: its name.
        collects: the source whose retake requests it gets, instead of a message system that claims them.
    """
    found = session.get(DeliveryTarget, target)
    if found is None:
        session.execute(upsert(DeliveryTarget).values(name=target, collects=collects).on_conflict_do_nothing())
    elif found.collects != collects:
        session.execute(update(DeliveryTarget).where(DeliveryTarget.name == target).values(collects=collects))
    return found is None


def unregister(session: Session, target: str) -> bool:
    """Removes a target, which gets no event from now on; returns whether it existed. Its deliveries stay."""
    removal = delete(DeliveryTarget).where(DeliveryTarget.name == target).returning(DeliveryTarget.name)
    return session.scalars(removal).one_or_none() is not None


def targets(session: Session) -> list[str]:
    """The names of all targets."""
    return list(session.scalars(select(DeliveryTarget.name).order_by(DeliveryTarget.name)))


def enqueue(session: Session, events: Sequence[NewEvent]) -> None:
    """Stores a delivery of each event for each target, in the caller's transaction. Writes nothing without a target."""
    if not events or not (names := targets(session)):
        return
    session.execute(
        insert(_Row),
        [
            {
                "id": new_id(),
                "target": name,
                "kind": event.kind,
                "message_id": event.message_id,
                "subject_id": event.subject_id,
                "status": DeliveryStatus.PENDING,
            }
            for event in events
            for name in names
        ],
    )


def is_due(session: Session, target: str) -> bool:
    """Whether an event for this target can be claimed now."""
    due = select(_Row.id).where(UNDELIVERED, _Row.target == target, _Row.due_at <= func.clock_timestamp())
    return session.scalars(due.limit(1)).first() is not None


def claim(session: Session, target: str, *, limit: int, lease: timedelta) -> list[ClaimedDelivery]:
    """Claims due deliveries, the longest due first. One without a result when its lease ends is due again."""
    token = LeaseToken(new_id())
    due = (
        select(_Row.id)
        .where(UNDELIVERED, _Row.target == target, _Row.due_at <= func.clock_timestamp())
        .order_by(_Row.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    now = func.clock_timestamp()
    rows = session.execute(
        update(_Row)
        .where(_Row.id == due.c.id)
        .values(
            attempts=_Row.attempts + 1,
            lease_token=token,
            due_at=now + lease,
            first_attempt_at=func.coalesce(_Row.first_attempt_at, now),
            last_attempt_at=now,
        )
        .returning(
            _Row.id,
            _Row.kind,
            _Row.message_id,
            _Row.subject_id,
            _Row.attempts,
            (_Row.last_attempt_at - _Row.first_attempt_at).label("since_first"),
        ),
        execution_options=_NO_SYNC,
    )
    return [
        ClaimedDelivery(
            id=EventId(row.id),
            kind=EventKind(row.kind),
            message_id=MessageId(row.message_id),
            subject_id=row.subject_id,
            attempts=row.attempts,
            since_first=max(timedelta(0), row.since_first),
            token=token,
        )
        for row in rows
    ]


def record(session: Session, attempted: Collection[Attempted]) -> int:
    """Records the results of attempts; returns their number without those whose lease another sender has taken over."""
    if not attempted:
        return 0
    results = recordset(
        "results",
        [
            {
                "id": each.delivery.id,
                "token": each.delivery.token,
                "status": each.status.value,
                "error": each.answer.error and each.answer.error.value,
                "answer": each.answer.status,
                "seconds": each.retry_in.total_seconds() if each.retry_in is not None else None,
            }
            for each in attempted
        ],
        id=Uuid(),
        token=Uuid(),
        status=Text(),
        error=Text(),
        answer=SmallInteger(),
        seconds=Float(),
    )
    pending = results.c.status == DeliveryStatus.PENDING.value
    rows = session.scalars(
        update(_Row)
        .where(
            _Row.status == DeliveryStatus.PENDING,
            _Row.id == func.any([each.delivery.id for each in attempted]),  # for the index
            _Row.id == results.c.id,
            _Row.lease_token == results.c.token,
        )
        .values(
            status=results.c.status,
            error=results.c.error,
            answer=results.c.answer,
            lease_token=null(),
            due_at=case(
                (pending, func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, results.c.seconds)),
                else_=_Row.due_at,
            ),
            finished_at=case((pending, null()), else_=func.clock_timestamp()),
        )
        .returning(_Row.id),
        execution_options=_NO_SYNC,
    ).all()
    return len(rows)


def load_events(session: Session, claimed: Collection[ClaimedDelivery]) -> dict[EventId, Event]:
    """Reads the events of these deliveries."""
    decision, request = tables.Decision, tables.RetakeRequest
    of_decision = _Row.kind == EventKind.MESSAGE_DECIDED
    rows = session.execute(
        select(
            _Row.id,
            _Row.kind,
            _Row.created_at.label("occurred_at"),
            Message.source,
            Message.external_id.label("message"),
            Thread.external_id.label("thread"),
            decision.id.label("decision_id"),
            decision.outcome,
            decision.reason,
            decision.decided_by,
            decision.created_at.label("decided_at"),
            ModelVersion.card,
            request.id.label("request_id"),
            or_(request.claimed_by.is_not(None), request.answered_at.is_not(None)).label("may_have_been_sent"),
            request.withdrawn_reason,
        )
        .join(Message, Message.id == _Row.message_id)
        .join(Thread, Thread.id == Message.thread_id)
        .outerjoin(decision, and_(of_decision, decision.id == _Row.subject_id))
        .outerjoin(ModelVersion, ModelVersion.id == decision.model_version_id)
        .outerjoin(
            request,
            (request.message_id == _Row.message_id)
            & (case((of_decision, request.decision_id), else_=request.id) == _Row.subject_id),
        )
        .where(_Row.id == func.any([each.id for each in claimed]))
    )
    return {EventId(row.id): _event(row) for row in rows}


def _event(row: Any) -> Event:
    decision = request = None
    if row.decision_id is not None:
        decision = EventDecision(
            id=DecisionId(row.decision_id),
            outcome=Outcome(row.outcome),
            reason=Reason(row.reason),
            decided_by=DecidedBy(row.decided_by),
            model=label_of(row.card) if row.card else None,
            decided_at=row.decided_at,
        )
    if row.request_id is not None:
        request = EventRequest(RetakeRequestId(row.request_id), row.may_have_been_sent, row.withdrawn_reason)
    return Event(
        id=EventId(row.id),
        kind=EventKind(row.kind),
        occurred_at=row.occurred_at,
        source=row.source,
        message=row.message,
        thread=row.thread,
        decision=decision,
        request=request,
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """The number of a target's deliveries of a status, and when the oldest was stored."""

    target: str
    status: str
    n: int
    oldest: datetime


def count_by_state(session: Session, *, closed_since: datetime) -> list[Counted]:
    """Counts what waits and what is dead, and what was delivered or dropped since a time."""
    states = (UNDELIVERED, DEAD, and_(CLOSED_DELIVERY, _Row.finished_at > closed_since))
    queries = (
        select(_Row.target, _Row.status, func.count(), func.min(_Row.created_at))
        .where(state)
        .group_by(_Row.target, _Row.status)
        for state in states
    )
    return [Counted(*row) for query in queries for row in session.execute(query)]


def list_deliveries(
    session: Session, *, status: DeliveryStatus | None = None, target: str | None = None, limit: int
) -> list[Delivery]:
    """Deliveries, newest first, optionally of one status and for one target."""
    conditions = [] if status is None else [_Row.status == status]
    return _deliveries(session, *conditions, *([] if target is None else [_Row.target == target]), limit=limit)


def find(session: Session, event_id: EventId) -> Delivery | None:
    """Returns a delivery by the id of its event, or None."""
    return next(iter(_deliveries(session, _Row.id == event_id, limit=1)), None)


def retry(session: Session, *, event_id: EventId | None = None, target: str | None = None) -> list[EventId]:
    """Makes deliveries due now, with all their time; returns their ids.

    Args:
        session: of the caller's transaction.
        event_id: a delivery that is dead or waits for its next attempt; if None, all dead ones.
        target: only deliveries for this target.
    """
    is_in_flight = _Row.lease_token.is_not(None) & (_Row.due_at > func.clock_timestamp())
    change = update(_Row).values(
        status=DeliveryStatus.PENDING,
        attempts=0,
        due_at=func.clock_timestamp(),
        lease_token=null(),
        first_attempt_at=null(),
        finished_at=null(),
    )
    return _change(session, change.where(~is_in_flight), event_id, target)


def drop(session: Session, *, event_id: EventId | None = None, target: str | None = None) -> list[EventId]:
    """Gives deliveries up; returns their ids.

    Args:
        session: of the caller's transaction.
        event_id: a delivery that is dead or waits; if None, all dead ones.
        target: only deliveries for this target.
    """
    return _change(session, update(_Row).values(_GIVEN_UP), event_id, target)


def drop_all(session: Session, target: str) -> int:
    """Gives up everything that waits for a target; returns the number of deliveries."""
    change = update(_Row).where(UNDELIVERED, _Row.target == target).values(_GIVEN_UP)
    return len(session.scalars(change.returning(_Row.id), execution_options=_NO_SYNC).all())


def forget(session: Session, message_id: MessageId) -> None:
    """Gives up what no receiver needs about a forgotten message. How its requests ended is still sent."""
    needed = _Row.kind.in_((EventKind.RETAKE_WITHDRAWN, EventKind.RETAKE_ANSWERED))
    session.execute(
        update(_Row).where(_Row.message_id == message_id, or_(UNDELIVERED, DEAD), ~needed).values(_GIVEN_UP),
        execution_options=_NO_SYNC,
    )


def remove_closed(session: Session, age: timedelta, *, limit: int) -> int:
    """Deletes deliveries that were delivered or dropped that long ago; returns their number, at most the limit."""
    old = select(_Row.id).where(CLOSED_DELIVERY, _Row.finished_at < func.statement_timestamp() - age).limit(limit)
    removed = session.scalars(delete(_Row).where(_Row.id.in_(old)).returning(_Row.id), execution_options=_NO_SYNC)
    return len(removed.all())


_GIVEN_UP: Final = {
    "status": DeliveryStatus.DROPPED,
    "lease_token": null(),
    "finished_at": func.clock_timestamp(),
}


def _change(session: Session, change: Update, event_id: EventId | None, target: str | None) -> list[EventId]:
    chosen = DEAD if event_id is None else and_(or_(UNDELIVERED, DEAD), _Row.id == event_id)
    conditions = [chosen, *([] if target is None else [_Row.target == target])]
    rows = session.scalars(change.where(*conditions).returning(_Row.id), execution_options=_NO_SYNC)
    return [EventId(row) for row in rows.all()]


def _deliveries(session: Session, *conditions: ColumnElement[bool], limit: int) -> list[Delivery]:
    rows = session.execute(
        select(_Row, Message.source, Message.external_id.label("message"))
        .join(Message, Message.id == _Row.message_id)
        .where(*conditions)
        .order_by(_Row.id.desc())
        .limit(limit)
    )
    return [
        Delivery(
            id=EventId(row.Delivery.id),
            target=row.Delivery.target,
            kind=EventKind(row.Delivery.kind),
            source=row.source,
            message=row.message,
            status=DeliveryStatus(row.Delivery.status),
            attempts=row.Delivery.attempts,
            error=DeliveryError(row.Delivery.error) if row.Delivery.error else None,
            answer=row.Delivery.answer,
            created_at=row.Delivery.created_at,
            due_at=row.Delivery.due_at if row.Delivery.status == DeliveryStatus.PENDING else None,
            last_attempt_at=row.Delivery.last_attempt_at,
            finished_at=row.Delivery.finished_at,
        )
        for row in rows
    ]
