"""The state of a message and the verdict on a photo, as their sender reads them."""

from uuid import UUID

from triage.domain.states import AttachmentStatus, DecidedBy, Outcome, Reason, RetakeStatus
from triage.errors import ErrorCode
from worker.documents.document import Document, UtcTime
from worker.documents.messages import VerdictDocument


class AttachmentStateDocument(Document):
    attachment_id: str
    id: UUID
    group: str | None
    status: AttachmentStatus
    error_code: ErrorCode | None


class RequestStateDocument(Document):
    id: UUID
    status: RetakeStatus


class MessageStateDocument(Document):
    """A message as it is now. `outcome` and the keys up to `decided_at` are null until it is decided."""

    message_id: str
    id: UUID
    source: str
    thread: str
    received_at: UtcTime
    photos_pending: int
    outcome: Outcome | None
    reason: Reason | None
    decided_by: DecidedBy | None
    model: str | None
    decided_at: UtcTime | None
    attachments: list[AttachmentStateDocument]
    retake_request: RequestStateDocument | None


class PhotoVerdictDocument(AttachmentStateDocument):
    """The verdict on a photo; null while it is pending, and if it is not assessable."""

    message_id: str
    source: str
    verdict: VerdictDocument | None
