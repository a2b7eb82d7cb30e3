"""Retake requests as an outbox: flagged by a decision, claimed under a lease, then acknowledged or withdrawn."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, func, insert, null, or_, select, true, update
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from triage.domain.deliveries import NewEvent
from triage.domain.ids import DecisionId, MessageId, RetakeRequestId, ThreadId, new_id
from triage.domain.messages import HeldRequest
from triage.domain.messages import RetakeRequest as Request
from triage.domain.replies import Reply, RequestedPhoto
from triage.domain.states import EventKind, RetakeStatus
from triage.storage import deliveries, retake_requests
from triage.storage.database import recordset
from triage.storage.messages import among
from triage.storage.retake_requests import WAITING
from triage.storage.tables import OPEN_REQUEST, DeliveryTarget, Message, RetakeRequest

_ENDS: Final = or_(
    OPEN_REQUEST,
    and_(
        RetakeRequest.status == RetakeStatus.SENT,
        RetakeRequest.revocable,
        RetakeRequest.answered_at.is_(None),
    ),
)
"""Requests that can be withdrawn."""


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A retake request to flag, with its reply. Its photos are stored without what forgetting would have to remove."""

    message_id: MessageId
    thread_id: ThreadId
    decision_id: DecisionId
    photos: Sequence[RequestedPhoto]
    reply: Reply


def flag(session: Session, requests: Sequence[NewRequest]) -> None:
    """Flags requests for messages, none of which may have an active request, and stores the events."""
    if not requests:
        return
    rows: list[dict[str, Any]] = [
        {
            "id": new_id(),
            "message_id": request.message_id,
            "thread_id": request.thread_id,
            "decision_id": request.decision_id,
            "status": RetakeStatus.FLAGGED,
            "photos": [
                {"id": str(photo.id), "score": photo.score, "reasons": [asdict(reason) for reason in photo.reasons]}
                for photo in request.photos
            ],
            "reply": asdict(request.reply),
        }
        for request in requests
    ]
    session.execute(insert(RetakeRequest), rows)
    deliveries.enqueue(session, [NewEvent(EventKind.RETAKE_REQUESTED, row["message_id"], row["id"]) for row in rows])


def active_among(session: Session, message_ids: Collection[MessageId]) -> set[MessageId]:
    """The messages among these that have a request that was not withdrawn."""
    rows = session.scalars(
        select(RetakeRequest.message_id).where(
            RetakeRequest.message_id == func.any(list(message_ids)), RetakeRequest.status != RetakeStatus.WITHDRAWN
        )
    )
    return {MessageId(row) for row in rows}


def open_among(session: Session, message_ids: Collection[UUID]) -> set[MessageId]:
    """The messages among these that have a request that can be withdrawn."""
    rows = session.scalars(
        select(RetakeRequest.message_id).where(_ENDS, RetakeRequest.message_id == func.any(list(message_ids)))
    )
    return {MessageId(row) for row in rows}


def claim(
    session: Session, *, limit: int, lease: timedelta, by: str, sources: Sequence[str] | None = None
) -> list[Request]:
    """Claims flagged requests, oldest first, for a sender that acknowledges each within the lease.

    Those of a source that a target collects are left to it.
    """
    collected = select(DeliveryTarget.collects).where(DeliveryTarget.collects.is_not(None))
    waiting = (
        select(RetakeRequest.id)
        .join(Message, Message.id == RetakeRequest.message_id)
        .where(OPEN_REQUEST, WAITING, Message.source.not_in(collected), among(sources))
    )
    open_ = (
        waiting.order_by(RetakeRequest.created_at)
        .limit(limit)
        .with_for_update(of=RetakeRequest, skip_locked=True)
        .cte("open")
    )
    ids = session.scalars(
        update(RetakeRequest)
        .where(RetakeRequest.id == open_.c.id)
        .values(
            status=RetakeStatus.CLAIMED,
            claimed_by=by,
            lease_token=new_id(),
            lease_until=func.clock_timestamp() + lease,
        )
        .returning(RetakeRequest.id),
        execution_options={"synchronize_session": False},
    ).all()
    return retake_requests.claimed(session, ids)


def acknowledge(session: Session, held: Collection[HeldRequest]) -> dict[HeldRequest, RetakeStatus]:
    """Records when requests were sent. A claimed request becomes sent; a withdrawn one stays withdrawn. Idempotent.

    Returns:
        The status of each request whose token is that of its last claim.
    """
    acked = recordset("acked", [{"id": each.id, "token": each.token} for each in held], id=Uuid(), token=Uuid())
    owned = (RetakeRequest.id == acked.c.id) & (RetakeRequest.lease_token == acked.c.token)
    ids = session.scalars(
        select(RetakeRequest.id)
        .join(acked, owned)
        .where(RetakeRequest.id == func.any([each.id for each in held]))  # for the index
        .order_by(RetakeRequest.id)  # so that two senders cannot block each other
        .with_for_update(of=RetakeRequest)
    ).all()
    withdrawn = RetakeRequest.status == RetakeStatus.WITHDRAWN
    rows = session.execute(
        update(RetakeRequest)
        .where(RetakeRequest.id == func.any(list(ids)))
        .values(
            status=case((withdrawn, RetakeStatus.WITHDRAWN.value), else_=RetakeStatus.SENT.value),
            sent_at=func.coalesce(RetakeRequest.sent_at, func.clock_timestamp()),
            lease_until=null(),
        )
        .returning(RetakeRequest.id, RetakeRequest.lease_token, RetakeRequest.status),
        execution_options={"synchronize_session": False},
    )
    return {HeldRequest(row.id, row.lease_token): RetakeStatus(row.status) for row in rows}


def hand_over(session: Session, request_ids: Collection[RetakeRequestId], *, by: str) -> list[RetakeRequestId]:
    """Records that a system which takes requests back has got these. Idempotent.

    Returns:
        Those that were flagged or claimed, and are sent now.
    """
    ids = session.scalars(
        select(RetakeRequest.id)
        .where(OPEN_REQUEST, RetakeRequest.id == func.any(list(request_ids)))
        .order_by(RetakeRequest.id)  # so that two senders cannot block each other
        .with_for_update()
    ).all()
    rows = session.scalars(
        update(RetakeRequest)
        .where(RetakeRequest.id == func.any(list(ids)))
        .values(
            status=RetakeStatus.SENT,
            sent_at=func.coalesce(RetakeRequest.sent_at, func.clock_timestamp()),
            claimed_by=func.coalesce(RetakeRequest.claimed_by, by),
            lease_until=null(),
            revocable=true(),
        )
        .returning(RetakeRequest.id),
        execution_options={"synchronize_session": False},
    )
    return [RetakeRequestId(row) for row in rows.all()]


def withdraw(session: Session, message_ids: Collection[UUID], *, reason: str) -> list[RetakeRequestId]:
    """Withdraws the requests of these messages that are flagged, claimed or revocable, and returns their ids.

    Args:
        session: of the caller's transaction.
        message_ids: messages whose requests are withdrawn.
        reason: recorded with each request.
    """
    return _withdraw(session, RetakeRequest.message_id == func.any(list(message_ids)), reason) if message_ids else []


def withdraw_one(session: Session, request_id: RetakeRequestId, *, reason: str) -> bool:
    """Withdraws a request if it is flagged, claimed or revocable; returns whether it was."""
    return bool(_withdraw(session, RetakeRequest.id == request_id, reason))


def _withdraw(session: Session, chosen: ColumnElement[bool], reason: str) -> list[RetakeRequestId]:
    rows = session.execute(
        update(RetakeRequest)
        .where(_ENDS, chosen)
        .values(
            status=RetakeStatus.WITHDRAWN,
            withdrawn_at=func.clock_timestamp(),
            withdrawn_reason=reason,
            lease_until=null(),
        )
        .returning(RetakeRequest.id, RetakeRequest.message_id)
    ).all()
    deliveries.enqueue(
        session, [NewEvent(EventKind.RETAKE_WITHDRAWN, MessageId(row.message_id), row.id) for row in rows]
    )
    return [RetakeRequestId(row.id) for row in rows]


def answer(
    session: Session, request_ids: Collection[RetakeRequestId], *, source: str, message_id: MessageId
) -> tuple[list[RetakeRequestId], list[RetakeRequestId]]:
    """Records that a message answers requests of its source, and withdraws what is open in their threads.

    Args:
        session: of the caller's transaction.
        request_ids: those that the message names. One that was answered before is left alone, and so is its thread.
        source: of the message.
        message_id: the message, whose own request stays open.

    Returns:
        The requests that are answered by this call, and those that it withdrew.
    """
    of_source = select(Message.id).where(Message.source == source)
    answered = session.execute(
        update(RetakeRequest)
        .where(
            RetakeRequest.id == func.any(list(request_ids)),
            RetakeRequest.message_id.in_(of_source),
            RetakeRequest.message_id != message_id,
            RetakeRequest.answered_at.is_(None),
        )
        .values(answered_at=func.clock_timestamp())
        .returning(RetakeRequest.id, RetakeRequest.message_id, RetakeRequest.thread_id),
        execution_options={"synchronize_session": False},
    ).all()
    deliveries.enqueue(
        session, [NewEvent(EventKind.RETAKE_ANSWERED, MessageId(row.message_id), row.id) for row in answered]
    )
    threads = RetakeRequest.thread_id == func.any([row.thread_id for row in answered])
    withdrawn = (
        _withdraw(session, and_(threads, RetakeRequest.message_id != message_id), "answered") if answered else []
    )
    return [RetakeRequestId(row.id) for row in answered], withdrawn
