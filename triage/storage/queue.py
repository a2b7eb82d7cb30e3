"""The queue of messages that wait for a person, as rows. Decisions put messages in and take them out."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, Text, and_, case, delete, func, literal, or_, select, text, true, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from triage.domain.ids import MessageId, ModelVersionId
from triage.domain.queue import COUNTED, Place
from triage.domain.queue import WaitingMessage as Waiting
from triage.domain.states import Outcome, Reason, WaitingState
from triage.storage.database import recordset
from triage.storage.tables import Attachment, Decision, Message, ModelVersion, WaitingMessage

_COLUMNS: Final = ("message_id", "source", "state", "reason", "model_version_id", "since")
_UNSYNCHRONISED: Final = {"synchronize_session": False}
_MAX_SOURCES: Final = 200
_IS_HELD: Final = WaitingMessage.lease_until > func.statement_timestamp()
_NO_CLAIM: Final = {"claimed_by": None, "lease_until": None, "claim_form": None}
_IS_FREE: Final = or_(WaitingMessage.lease_until.is_(None), WaitingMessage.lease_until <= func.statement_timestamp())


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages of the queue are meant. None selects all.

    Attributes:
        older_than: waiting for longer than this.
        assigned_to: sent to this person, by the actor id.
    """

    source: str | None = None
    state: WaitingState | None = None
    reason: Reason | None = None
    model: ModelVersionId | None = None
    older_than: timedelta | None = None
    assigned_to: str | None = None


def put(session: Session, decided: Collection[tuple[MessageId, Outcome, Reason]]) -> None:
    """Puts messages into the queue by their current decisions, or changes their state there.

    A forgotten message does not wait.
    """
    rows = [{"id": each[0], "state": each[1].value, "reason": each[2].value} for each in decided]
    if not rows:
        return
    new = recordset("new", rows, id=Uuid(), state=Text(), reason=Text())
    chosen = (
        select(Message.id, Message.source, new.c.state, new.c.reason, Decision.model_version_id, Message.received_at)
        .join(new, new.c.id == Message.id)
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(Message.forgotten_at.is_(None))
        .order_by(Message.id)
    )
    insertion = insert(WaitingMessage).from_select(_COLUMNS, chosen)
    changed = {name: insertion.excluded[name] for name in ("state", "reason", "model_version_id")}
    session.execute(insertion.on_conflict_do_update(index_elements=["message_id"], set_=changed))


def put_appealed(session: Session, message_id: UUID) -> None:
    """Puts a message into the queue whose request was appealed and still stands. It may wait already."""
    appealed = (
        select(
            Message.id,
            Message.source,
            literal(WaitingState.APPEALED.value),
            Decision.reason,
            Decision.model_version_id,
            func.clock_timestamp(),
        )
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(Message.id == message_id, Decision.outcome == Outcome.RETAKE)
    )
    session.execute(insert(WaitingMessage).from_select(_COLUMNS, appealed).on_conflict_do_nothing())


def end_appeal(session: Session, message_id: UUID) -> None:
    """Removes a message from the queue if it waits because its request was appealed."""
    appealed = (WaitingMessage.message_id == message_id) & (WaitingMessage.state == WaitingState.APPEALED)
    session.execute(delete(WaitingMessage).where(appealed), execution_options=_UNSYNCHRONISED)


def take_out(session: Session, message_ids: Collection[UUID]) -> None:
    """Removes messages from the queue, with their claims."""
    if message_ids:
        chosen = WaitingMessage.message_id == func.any(list(message_ids))
        session.execute(delete(WaitingMessage).where(chosen), execution_options=_UNSYNCHRONISED)


def list_waiting(session: Session, selection: Selection, *, after: Place | None, limit: int) -> list[Waiting]:
    """The oldest messages of a selection that follow a place."""
    query = _described().where(*_selected(selection))
    if after is not None:
        query = query.where(tuple_(WaitingMessage.since, WaitingMessage.message_id) > tuple_(after.since, after.id))
    query = query.order_by(WaitingMessage.since, WaitingMessage.message_id).limit(limit)
    return [_waiting(row) for row in session.execute(query)]


def count(session: Session, selection: Selection) -> int:
    """The number of messages of a selection, up to `COUNTED`."""
    some = select(WaitingMessage.message_id).where(*_selected(selection)).limit(COUNTED).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def sources(session: Session) -> list[str]:
    """The sources of all waiting messages, by one look into the index for each."""
    return list(session.scalars(_SOURCES, {"limit": _MAX_SOURCES}))


_SOURCES: Final = text(
    """
    WITH RECURSIVE found AS (
        (SELECT source FROM waiting_message ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT source FROM waiting_message w WHERE w.source > found.source ORDER BY source LIMIT 1)
        FROM found WHERE found.source IS NOT NULL
    )
    SELECT source FROM found WHERE source IS NOT NULL LIMIT :limit
    """
)


def models(session: Session) -> list[tuple[ModelVersionId, str]]:
    """The models of all waiting messages by one look into the index for each."""
    one = select(WaitingMessage.message_id).where(WaitingMessage.model_version_id == ModelVersion.id).limit(1)
    query = select(ModelVersion.id, ModelVersion.name).join(one.lateral("one"), true()).order_by(ModelVersion.id.desc())
    return [(ModelVersionId(row.id), row.name) for row in session.execute(query)]


def find(session: Session, message_id: UUID) -> Waiting | None:
    """A message of the queue, or None if it does not wait."""
    row = session.execute(_described().where(WaitingMessage.message_id == message_id)).one_or_none()
    return None if row is None else _waiting(row)


def claim(session: Session, message_id: UUID, *, by: str, lease: timedelta) -> bool:
    """Claims a message that no one else holds, or extends the own claim; returns whether it is held now.

    An extended claim keeps the id of the form that has made it.
    """
    is_own = WaitingMessage.claimed_by == by
    which = and_(WaitingMessage.message_id == message_id, or_(_IS_FREE, is_own))
    return _hold(session, which, by, lease, form=case((is_own, WaitingMessage.claim_form))) is not None


def claim_oldest(
    session: Session, selection: Selection, *, by: str, lease: timedelta, form: UUID | None = None
) -> MessageId | None:
    """Claims the oldest message of a selection that no one holds and that was sent to no one else.

    Two people at the same time get two messages. The id of the form is kept with the claim.
    """
    not_of_others = or_(WaitingMessage.assigned_to.is_(None), WaitingMessage.assigned_to == by)
    oldest = (
        select(WaitingMessage.message_id)
        .where(_IS_FREE, not_of_others, *_selected(selection))
        .order_by(WaitingMessage.since, WaitingMessage.message_id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return _hold(session, WaitingMessage.message_id == oldest, by, lease, form=form)


def claimed_by_form(session: Session, form: UUID, *, by: str) -> MessageId | None:
    """The message that this form has claimed, while the person holds it.

    The same form in another transaction waits until this one ends.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"form {form}", 0))))
    held = select(WaitingMessage.message_id).where(
        WaitingMessage.claim_form == form, WaitingMessage.claimed_by == by, _IS_HELD
    )
    found = session.scalar(held)
    return None if found is None else MessageId(found)


def release(session: Session, message_id: UUID, *, by: str | None) -> bool:
    """Ends a claim, of this person or of anyone; returns whether there was one."""
    held = update(WaitingMessage).where(WaitingMessage.message_id == message_id, WaitingMessage.claimed_by.is_not(None))
    if by is not None:
        held = held.where(WaitingMessage.claimed_by == by)
    ended = held.values(_NO_CLAIM).returning(WaitingMessage.message_id)
    return session.execute(ended, execution_options=_UNSYNCHRONISED).one_or_none() is not None


def assign(session: Session, message_id: UUID, *, to: str) -> None:
    """Sends a waiting message to a person, and ends its claim."""
    sent = update(WaitingMessage).where(WaitingMessage.message_id == message_id)
    session.execute(sent.values({"assigned_to": to, **_NO_CLAIM}), execution_options=_UNSYNCHRONISED)


def unassign(session: Session, *, of: str) -> int:
    """Sends the messages of a person back to all; returns their number."""
    sent = update(WaitingMessage).where(WaitingMessage.assigned_to == of).values(assigned_to=None)
    returned = session.scalars(sent.returning(WaitingMessage.message_id), execution_options=_UNSYNCHRONISED)
    return len(returned.all())


def _hold(session: Session, which: Any, by: str, lease: timedelta, *, form: Any) -> MessageId | None:
    held = (
        update(WaitingMessage)
        .where(which)
        .values(claimed_by=by, lease_until=func.clock_timestamp() + lease, claim_form=form)
        .returning(WaitingMessage.message_id)
    )
    row = session.execute(held, execution_options=_UNSYNCHRONISED).one_or_none()
    return None if row is None else MessageId(row.message_id)


def _selected(selection: Selection) -> list[Any]:
    conditions: list[Any] = []
    if selection.source is not None:
        conditions.append(WaitingMessage.source == selection.source)
    if selection.state is not None:
        conditions.append(WaitingMessage.state == selection.state.value)
    if selection.model is not None:
        conditions.append(WaitingMessage.model_version_id == selection.model)
    if selection.reason is not None:
        conditions.append(WaitingMessage.reason == selection.reason.value)
    if selection.assigned_to is not None:
        conditions.append(WaitingMessage.assigned_to == selection.assigned_to)
    if selection.older_than is not None:
        conditions.append(WaitingMessage.since < func.statement_timestamp() - selection.older_than)
    return conditions


def _described() -> Select[Any]:
    model = select(ModelVersion.name).where(ModelVersion.id == WaitingMessage.model_version_id).scalar_subquery()
    photos = select(func.count()).where(Attachment.message_id == WaitingMessage.message_id).scalar_subquery()
    return select(
        WaitingMessage,
        Message.external_id,
        (func.statement_timestamp() - WaitingMessage.since).label("waited"),
        photos.label("photos"),
        _IS_HELD.label("is_held"),
        model.label("model"),
    ).join(Message, Message.id == WaitingMessage.message_id)


def _waiting(row: Any) -> Waiting:
    stored: WaitingMessage = row.WaitingMessage
    return Waiting(
        id=MessageId(stored.message_id),
        source=stored.source,
        message=row.external_id,
        state=WaitingState(stored.state),
        reason=Reason(stored.reason),
        model=row.model,
        since=stored.since,
        waited=row.waited,
        photos=row.photos,
        claimed_by=stored.claimed_by if row.is_held else None,
        claimed_until=stored.lease_until if row.is_held else None,
        assigned_to=stored.assigned_to,
    )
