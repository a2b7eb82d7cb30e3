"""Parked photos: not assessable when they were last tried, but perhaps now."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, func, null, or_, select, update
from sqlalchemy.orm import Session

from triage.domain.ids import AttachmentId, MessageId, first_id
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode
from triage.storage import audit
from triage.storage.tables import Attachment, Blob


@dataclass(frozen=True, slots=True)
class ParkedPhoto:
    id: AttachmentId
    sha256: str | None


def find(
    session: Session,
    *,
    message_id: MessageId | None,
    error: ErrorCode | None,
    since: datetime | None,
    after: UUID,
    limit: int,
) -> Sequence[ParkedPhoto]:
    """Parked photos in the order of their ids.

    Args:
        session: of the caller's transaction.
        message_id: only photos of this message.
        error: only photos with this code.
        since: only photos received from this time on.
        after: only photos with a greater id.
        limit: their maximum number.
    """
    query = select(Attachment.id, Attachment.sha256).where(
        Attachment.status == AttachmentStatus.NOT_ASSESSABLE, Attachment.id > after
    )
    if message_id is not None:
        query = query.where(Attachment.message_id == message_id)
    if error is not None:
        query = query.where(Attachment.error_code == error)
    if since is not None:
        query = query.where(Attachment.id >= first_id(since), Attachment.created_at >= since)
    rows = session.execute(query.order_by(Attachment.id).limit(limit))
    return [ParkedPhoto(AttachmentId(row.id), row.sha256) for row in rows]


def requeue(session: Session, attachment_ids: Collection[AttachmentId], *, actor: str) -> dict[AttachmentId, MessageId]:
    """Makes parked photos pending again, as if they had just been received, if their bytes still exist.

    Appends an audit event for each message: call it last in a transaction.

    The caller holds the locks of the threads and of the blobs, so that no purge deletes the bytes at the same time.

    Returns:
        The message of each photo that is pending now.
    """
    has_bytes = or_(
        Attachment.uri.is_not(None),
        exists(select(Blob.sha256).where(Blob.sha256 == Attachment.sha256, Blob.purge_after.is_(None))),
    )
    rows = session.execute(
        update(Attachment)
        .where(
            Attachment.id == func.any(list(attachment_ids)),
            Attachment.status == AttachmentStatus.NOT_ASSESSABLE,
            has_bytes,
        )
        .values(
            status=AttachmentStatus.PENDING,
            error_code=null(),
            finished_at=null(),
            attempts=0,
            lost_leases=0,
            storage_faults=0,
            due_at=func.clock_timestamp(),
        )
        .returning(Attachment.id, Attachment.message_id),
        execution_options={"synchronize_session": False},
    )
    requeued = {AttachmentId(row.id): MessageId(row.message_id) for row in rows}
    for message_id, photos in sorted(Counter(requeued.values()).items()):
        audit.record(
            session,
            actor=actor,
            action="photos.requeued",
            subject_kind="message",
            subject_id=message_id,
            photos=photos,
        )
    return requeued
