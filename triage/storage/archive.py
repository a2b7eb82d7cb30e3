"""Threads as lines of JSON, and their deletion from the tables, which only the owner of the tables may do."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, text, tuple_, update
from sqlalchemy.orm import Session

from triage.domain.ids import ThreadId
from triage.domain.states import AttachmentStatus, DeliveryStatus
from triage.storage.archived_counts import keep_counts
from triage.storage.tables import (
    OPEN_REQUEST,
    Arrival,
    Attachment,
    Decision,
    Delivery,
    Message,
    Origin,
    PhotoReview,
    PhotoVote,
    RequestReview,
    RetakeRequest,
    ReviewedPhoto,
    Thread,
    Verdict,
    WaitingMessage,
)

_HISTORIES = text(
    """
    SELECT jsonb_build_object(
        'thread', to_jsonb(thread) - 'archived_at',
        'messages', (SELECT jsonb_agg(to_jsonb(m) ORDER BY m.id) FROM message m WHERE m.thread_id = thread.id),
        'attachments', (SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.id), '[]') FROM attachment a
                        JOIN message m ON m.id = a.message_id WHERE m.thread_id = thread.id),
        'verdicts', (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.id), '[]') FROM verdict v
                     JOIN attachment a ON a.id = v.attachment_id JOIN message m ON m.id = a.message_id
                     WHERE m.thread_id = thread.id),
        'decisions', (SELECT coalesce(jsonb_agg(to_jsonb(d) ORDER BY d.id), '[]') FROM decision d
                      JOIN message m ON m.id = d.message_id WHERE m.thread_id = thread.id),
        'retake_requests', (SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.id), '[]') FROM retake_request r
                            WHERE r.thread_id = thread.id),
        'request_reviews', (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.id), '[]') FROM request_review v
                            JOIN retake_request r ON r.id = v.request_id WHERE r.thread_id = thread.id),
        'photo_votes', (SELECT coalesce(jsonb_agg(to_jsonb(v) - 'photo_id' || jsonb_build_object(
                            'review', w.name, 'attachment_id', p.attachment_id) ORDER BY v.id), '[]')
                        FROM photo_vote v JOIN reviewed_photo p ON p.id = v.photo_id
                        JOIN photo_review w ON w.id = p.review_id JOIN attachment a ON a.id = p.attachment_id
                        JOIN message m ON m.id = a.message_id WHERE m.thread_id = thread.id)
    )::text
    FROM thread WHERE id = ANY(:threads) ORDER BY id
    """
)


Position: TypeAlias = tuple[datetime, UUID]
"""Position of a message in the order of receipt: its time of receipt, and its id."""


def next_messages(
    session: Session, *, after: Position | None, before: datetime, limit: int
) -> tuple[set[ThreadId], Position | None]:
    """The threads of the next messages received before a time, and the position of the last of these messages."""
    position = tuple_(Message.received_at, Message.id)
    query = select(Message.received_at, Message.id, Message.thread_id).where(Message.received_at < before)
    if after is not None:
        query = query.where(position > tuple_(*after))
    rows = session.execute(query.order_by(Message.received_at, Message.id).limit(limit)).all()
    return {ThreadId(row.thread_id) for row in rows}, (rows[-1].received_at, rows[-1].id) if rows else None


def lock_closed(session: Session, threads: Collection[ThreadId], *, before: datetime) -> list[ThreadId]:
    """Locks the closed threads among these and returns them. Skips threads that another transaction has locked."""
    locked = session.scalars(
        select(Thread.id)
        .where(Thread.id == func.any(list(threads)))
        .order_by(Thread.id)
        .with_for_update(skip_locked=True)
    ).all()
    # queried after locking, because a message may have arrived before
    closed = select(Thread.id).where(Thread.id == func.any(list(locked)), _is_closed(before)).order_by(Thread.id)
    return [ThreadId(row) for row in session.scalars(closed)]


def count_closed(session: Session, *, before: datetime) -> int:
    """The number of closed threads."""
    return session.scalar(select(func.count()).select_from(Thread).where(_is_closed(before))) or 0


def _is_closed(before: datetime) -> ColumnElement[bool]:
    """Condition on a thread: messages are old and decided; no photo, request, delivery or photo review is open."""
    messages = select(Message.id).where(Message.thread_id == Thread.id)
    is_in_use = or_(Message.received_at >= before, Message.current_decision_id.is_(None))
    open_photo = Attachment.status.in_([AttachmentStatus.PENDING, AttachmentStatus.IN_PROGRESS])
    waiting = Delivery.status == DeliveryStatus.PENDING
    in_review = (
        messages.join(Attachment, Attachment.message_id == Message.id)
        .join(ReviewedPhoto, ReviewedPhoto.attachment_id == Attachment.id)
        .join(PhotoReview, PhotoReview.id == ReviewedPhoto.review_id)
        .where(PhotoReview.closed_at.is_(None))
    )
    return (
        exists(messages)
        & ~exists(messages.where(is_in_use))
        & ~exists(messages.join(Attachment, Attachment.message_id == Message.id).where(open_photo))
        & ~exists(select(RetakeRequest.id).where(RetakeRequest.thread_id == Thread.id, OPEN_REQUEST))
        & ~exists(messages.join(Delivery, Delivery.message_id == Message.id).where(waiting))
        & ~exists(in_review)
    )


def histories(session: Session, threads: Sequence[ThreadId]) -> list[str]:
    """Each thread with all its rows, as one line of JSON: a key for each table, rows with all their columns."""
    return list(session.scalars(_HISTORIES, {"threads": list(threads)}))


def photos_of(session: Session, threads: Sequence[ThreadId]) -> list[str]:
    """The hashes of the photos of these threads."""
    query = (
        select(Attachment.sha256)
        .join(Message, Message.id == Attachment.message_id)
        .where(Message.thread_id == func.any(list(threads)), Attachment.sha256.is_not(None))
    )
    return [row for row in session.scalars(query) if row is not None]


def remove(session: Session, threads: Sequence[ThreadId]) -> dict[str, int]:
    """Deletes these threads with all their rows, and keeps the counts of reports. The caller holds their locks.

    Returns:
        The number of messages, attachments and verdicts deleted.
    """
    chosen = list(threads)
    keep_counts(session, threads)
    messages = select(Message.id).where(Message.thread_id == func.any(chosen))
    attachments = select(Attachment.id).where(Attachment.message_id.in_(messages))
    session.execute(update(Thread).where(Thread.id == func.any(chosen)).values(archived_at=func.clock_timestamp()))
    reviewed = select(ReviewedPhoto.id).where(ReviewedPhoto.attachment_id.in_(attachments))
    _delete(session, PhotoVote, PhotoVote.photo_id.in_(reviewed))
    _delete(session, ReviewedPhoto, ReviewedPhoto.attachment_id.in_(attachments))
    removed = {"verdicts": _delete(session, Verdict, Verdict.attachment_id.in_(attachments))}
    _delete(session, Delivery, Delivery.message_id.in_(messages))  # no history of the thread: files do not hold them
    _delete(session, WaitingMessage, WaitingMessage.message_id.in_(messages))
    _delete(session, Origin, Origin.message_id.in_(messages))
    keys = select(Message.source, Message.external_id).where(Message.thread_id == func.any(chosen))
    _delete(session, Arrival, tuple_(Arrival.source, Arrival.reference).in_(keys))
    requests = select(RetakeRequest.id).where(RetakeRequest.thread_id == func.any(chosen))
    _delete(session, RequestReview, RequestReview.request_id.in_(requests))
    _delete(session, RetakeRequest, RetakeRequest.thread_id == func.any(chosen))
    session.execute(update(Message).where(Message.id.in_(messages)).values(current_decision_id=None))
    _delete(session, Decision, Decision.message_id.in_(messages))
    removed["attachments"] = _delete(session, Attachment, Attachment.message_id.in_(messages))
    removed["messages"] = _delete(session, Message, Message.thread_id == func.any(chosen))
    _delete(session, Thread, Thread.id == func.any(chosen))
    return removed


def _delete(session: Session, table: type, which: ColumnElement[bool]) -> int:
    result = session.execute(delete(table).where(which), execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]  # every DELETE returns a CursorResult
