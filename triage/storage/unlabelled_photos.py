"""Photos of messages that a pretraining may read."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from triage.domain.ids import AttachmentId
from triage.domain.messages import ClaimedAttachment
from triage.storage.retention import bytes_are_there
from triage.storage.tables import Attachment


def newest(session: Session, limit: int) -> list[ClaimedAttachment]:
    """The newest photos whose bytes are there; forgotten ones have neither a hash nor a URI. Copies count once.

    Args:
        limit: the largest number of attachments to read; of copies, one is returned.
    """
    query = (
        select(Attachment.id, Attachment.sha256, Attachment.uri)
        .where(bytes_are_there())
        .order_by(Attachment.id.desc())  # ids ascend with time
        .limit(limit)
    )
    rows = {row.sha256 or str(row.id): row for row in session.execute(query)}
    return [ClaimedAttachment(AttachmentId(row.id), row.sha256, row.uri) for row in rows.values()]
