"""Attachments as a queue: claims under a lease, results written by the holder of the lease, sweep of expired leases."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Exists, Text, TextClause, case, exists, func, literal, null, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from triage.domain.ids import AttachmentId, LeaseToken, MessageId, new_id
from triage.domain.limits import RetryRules
from triage.domain.messages import Claim, ClaimedAttachment
from triage.domain.photos import Assessment, Failed, NotAssessable, Scored, Unreadable
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode
from triage.storage.database import recordset
from triage.storage.tables import FRESH, LEASED, RETRY, Attachment, Message, Thread


def claim(session: Session, *, limit: int, lease: timedelta, retry: bool) -> Claim | None:
    """Claims due attachments under a new lease token and counts the attempt.

    Args:
        session: of the caller's transaction.
        limit: maximum number of attachments.
        lease: how long no other worker may claim them.
        retry: claim photos that failed or were lost before, instead of photos never attempted.

    Returns:
        The claim, or None if nothing is due.
    """
    due = (
        select(Attachment.id)
        .where(RETRY if retry else FRESH, Attachment.due_at <= func.clock_timestamp())
        .order_by(Attachment.due_at, Attachment.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    token = LeaseToken(new_id())
    rows = session.execute(
        update(Attachment)
        .where(Attachment.id == due.c.id)
        .values(
            status=AttachmentStatus.IN_PROGRESS,
            attempts=Attachment.attempts + 1,
            lease_token=token,
            lease_until=func.clock_timestamp() + lease,
        )
        .returning(Attachment.id, Attachment.sha256, Attachment.uri)
    ).all()
    if not rows:
        return None
    claimed = [ClaimedAttachment(AttachmentId(row.id), row.sha256, row.uri, retry) for row in rows]
    return Claim(token, claimed)


def lock_threads(session: Session, attachment_ids: Collection[UUID]) -> None:
    """Locks the threads of these attachments until the transaction ends, in the same order in every transaction."""
    threads = (
        select(Message.thread_id)
        .join(Attachment, Attachment.message_id == Message.id)
        .where(Attachment.id == func.any(list(attachment_ids)))
    )
    session.execute(select(Thread.id).where(Thread.id.in_(threads)).order_by(Thread.id).with_for_update())


def messages_of(session: Session, attachment_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The message of each of these attachments. Archived attachments are missing."""
    query = select(Attachment.id, Attachment.message_id).where(Attachment.id == func.any(list(attachment_ids)))
    return {row.id: row.message_id for row in session.execute(query)}


def finish(
    session: Session, token: LeaseToken, assessments: Sequence[Assessment], rules: RetryRules
) -> dict[UUID, UUID]:
    """Writes the new states of attachments whose lease token still matches.

    Returns:
        The message of each attachment written. Missing attachments were rejected as stale.
    """
    results = recordset(
        "results",
        [_state(item) for item in assessments],
        id=Uuid(),
        status=Text(),
        sha256=Text(),
        media_type=Text(),
        error_code=Text(),
    )
    is_unreadable = results.c.status == _UNREADABLE
    faults = case((is_unreadable, Attachment.storage_faults + 1), else_=Attachment.storage_faults)
    used_up = case((is_unreadable, faults >= rules.max_storage_faults), else_=Attachment.attempts >= rules.max_attempts)
    status = case(
        (results.c.status.not_in([_FAILED, _UNREADABLE]), results.c.status),
        (used_up, literal(AttachmentStatus.NOT_ASSESSABLE.value)),
        else_=literal(AttachmentStatus.PENDING.value),
    )
    fault_delay = func.least(faults * max(rules.backoff, _MIN_FAULT_DELAY), _MAX_FAULT_DELAY)
    rows = session.execute(
        update(Attachment)
        .where(Attachment.id == results.c.id, Attachment.lease_token == token)
        .values(
            status=status,
            sha256=func.coalesce(results.c.sha256, Attachment.sha256),
            media_type=func.coalesce(results.c.media_type, Attachment.media_type),
            error_code=case((status == AttachmentStatus.NOT_ASSESSABLE.value, results.c.error_code)),
            due_at=case(
                (
                    status == AttachmentStatus.PENDING.value,
                    func.clock_timestamp()
                    + case((is_unreadable, fault_delay), else_=Attachment.attempts * rules.backoff),
                ),
                else_=Attachment.due_at,
            ),
            attempts=case((is_unreadable, Attachment.attempts - 1), else_=Attachment.attempts),
            storage_faults=faults,
            finished_at=case((status != AttachmentStatus.PENDING.value, func.clock_timestamp())),
            lease_token=null(),
            lease_until=null(),
        )
        .returning(Attachment.id, Attachment.message_id),
        execution_options={"synchronize_session": False},
    ).all()
    return {row.id: row.message_id for row in rows}


_FAILED: Final = "failed"
_UNREADABLE: Final = "unreadable"
_MIN_FAULT_DELAY: Final = timedelta(seconds=1)
_MAX_FAULT_DELAY: Final = timedelta(minutes=10)
"""Bounds of the delay after a storage fault: the store is not asked without pause, and is soon found repaired."""


def _state(item: Assessment) -> dict[str, Any]:
    match item:
        case Scored():
            return {
                "id": item.id,
                "status": AttachmentStatus.SCORED,
                "sha256": item.facts.sha256,
                "media_type": item.facts.media_type,
                "error_code": None,
            }
        case NotAssessable():
            return {
                "id": item.id,
                "status": AttachmentStatus.NOT_ASSESSABLE,
                "sha256": item.sha256,
                "media_type": item.media_type,
                "error_code": item.code,
            }
        case Failed() | Unreadable():
            status = _FAILED if isinstance(item, Failed) else _UNREADABLE
            return {"id": item.id, "status": status, "sha256": None, "media_type": None, "error_code": item.code}


def release(session: Session, token: LeaseToken) -> int:
    """Releases the attachments of a lease without a result and returns their number. The attempt does not count."""
    result = session.execute(
        update(Attachment)
        .where(Attachment.lease_token == token)
        .values(
            status=AttachmentStatus.PENDING,
            attempts=Attachment.attempts - 1,
            lease_token=null(),
            lease_until=null(),
        )
        .returning(Attachment.id)
    )
    return len(result.all())


def expired(session: Session, limit: int = 1000) -> list[UUID]:
    """Attachments with an expired lease, not locked: the caller locks their threads first, as all transactions do."""
    return list(
        session.scalars(
            select(Attachment.id).where(LEASED, Attachment.lease_until < func.clock_timestamp()).limit(limit)
        )
    )


def sweep(session: Session, attachment_ids: Sequence[UUID], rules: RetryRules) -> tuple[int, list[UUID]]:
    """Makes attachments whose lease is still expired pending again, or parks them if too many of their leases expired.

    The attempt does not count: what ended the worker is unknown.

    Returns:
        The number that became pending, and the messages of those parked as `not_assessable`.
    """
    exhausted = Attachment.lost_leases + 1 >= rules.max_lost_leases
    rows = session.execute(
        update(Attachment)
        .where(
            LEASED,
            Attachment.id == func.any(list(attachment_ids)),
            Attachment.lease_until < func.clock_timestamp(),
        )
        .values(
            status=case((exhausted, AttachmentStatus.NOT_ASSESSABLE.value), else_=AttachmentStatus.PENDING.value),
            error_code=case((exhausted, ErrorCode.ATTEMPTS_EXHAUSTED.value)),
            finished_at=case((exhausted, func.clock_timestamp())),
            attempts=Attachment.attempts - 1,
            lost_leases=Attachment.lost_leases + 1,
            # others first, so that repeated kills do not always strike the same photo
            due_at=func.clock_timestamp() + (Attachment.lost_leases + 1) * rules.backoff,
            lease_token=null(),
            lease_until=null(),
        )
        .returning(Attachment.message_id, Attachment.status),
        execution_options={"synchronize_session": False},
    ).all()
    parked = [row.message_id for row in rows if row.status == AttachmentStatus.NOT_ASSESSABLE]
    return len(rows) - len(parked), parked


def is_due(session: Session) -> bool:
    """Whether any attachment is due."""
    return bool(session.scalar(select(or_(_any_due(FRESH), _any_due(RETRY)))))


def has_retries(session: Session) -> bool:
    """Whether any attachment that failed or was lost before is due."""
    return bool(session.scalar(select(_any_due(RETRY))))


def _any_due(predicate: TextClause) -> Exists:
    return exists(select(Attachment.id).where(predicate, Attachment.due_at <= func.clock_timestamp()))


def count_open(session: Session, message_id: MessageId | None = None) -> int:
    """The number of attachments without a result, of one message or of all."""
    query = select(func.count()).select_from(Attachment).where(or_(FRESH, RETRY, LEASED))
    return session.scalar(query if message_id is None else query.where(Attachment.message_id == message_id)) or 0
