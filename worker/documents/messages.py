"""Messages: what intake accepted, the history of one message, and a person's decision."""

from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import UUID

from triage.domain.messages import Acceptance
from triage.domain.states import (
    AttachmentStatus,
    DecidedBy,
    Fitzpatrick,
    Outcome,
    Reason,
    RetakeStatus,
    VerdictOrigin,
)
from triage.errors import ErrorCode
from worker.documents.document import Document, UtcTime
from worker.documents.photos import FindingDocument
from worker.documents.replies import ReplyDocument, RequestedPhotoDocument

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.retakes.override import Override


class AcceptedAttachmentDocument(Document):
    attachment_id: str
    id: UUID
    status: AttachmentStatus
    error_code: ErrorCode | None
    conflict: bool
    unchanged: list[str]
    requeued: bool


class AcceptanceDocument(Document):
    """A message that intake has stored. `created` is false if neither the message nor a photo is new.

    `conflict` marks a photo whose id belongs to another photo, which is kept. `unchanged` names fields that were stored
    with another value before, which is kept. `opted_out` is true if no retake is ever requested for the message.
    `requeued` marks a photo that was parked because its bytes could not be read, and is pending again.
    """

    message_id: str
    id: UUID
    attachments: list[AcceptedAttachmentDocument]
    created: bool
    unchanged: list[str]
    opted_out: bool

    @classmethod
    def of(cls, acceptance: Acceptance) -> Self:
        return cls(
            message_id=acceptance.external_id,
            id=acceptance.id,
            attachments=[
                AcceptedAttachmentDocument(
                    attachment_id=attachment.external_id,
                    id=attachment.id,
                    status=attachment.status,
                    error_code=attachment.error_code,
                    conflict=attachment.conflict,
                    unchanged=list(attachment.unchanged),
                    requeued=attachment.requeued,
                )
                for attachment in acceptance.attachments
            ],
            created=acceptance.created,
            unchanged=list(acceptance.unchanged),
            opted_out=acceptance.opted_out,
        )


class OverrideDocument(Document):
    """A person's decision on a message."""

    message_id: str
    outcome: Outcome
    decided_by: Literal[DecidedBy.PERSON]
    actor: str

    @classmethod
    def of(cls, override: "Override") -> Self:
        return cls(
            message_id=override.message_id,
            outcome=override.outcome,
            decided_by=DecidedBy.PERSON,
            actor=override.actor,
        )


class VerdictDocument(Document):
    """The verdict of one model on one photo."""

    model: str
    weights_sha256: str
    origin: VerdictOrigin
    score: float
    threshold: float
    acceptable: bool
    grade: int
    cumulative: list[float]
    patch_scores: list[float]
    findings: list[FindingDocument]
    width: int
    height: int
    n_frames: int
    frame: int
    created_at: UtcTime


class AttachmentHistoryDocument(Document):
    attachment_id: str
    id: UUID
    group: str | None
    sha256: str | None
    declared_type: str | None
    media_type: str | None
    size_bytes: int | None
    status: AttachmentStatus
    error_code: ErrorCode | None
    attempts: int
    lost_leases: int
    finished_at: UtcTime | None
    purged_at: UtcTime | None
    verdicts: list[VerdictDocument]


class DecisionDocument(Document):
    id: UUID
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model: str | None
    actor: str | None
    note: str | None
    created_at: UtcTime


class RequestHistoryDocument(Document):
    id: UUID
    status: RetakeStatus
    may_have_been_sent: bool
    claimed_by: str | None
    created_at: UtcTime
    sent_at: UtcTime | None
    withdrawn_at: UtcTime | None
    withdrawn_reason: str | None
    photos: list[RequestedPhotoDocument]
    reply: ReplyDocument | None


class AuditEventDocument(Document):
    at: UtcTime
    actor: str
    action: str
    details: dict[str, Any]


class MessageHistoryDocument(Document):
    """The history of a message; each list is ordered from oldest to newest."""

    message_id: str
    id: UUID
    source: str
    thread: str
    role: str
    locale: str
    opted_out: bool
    fitzpatrick: Fitzpatrick | None
    received_at: UtcTime
    forgotten_at: UtcTime | None
    outcome: Outcome | None
    reason: Reason | None
    decided_by: DecidedBy | None
    attachments: list[AttachmentHistoryDocument]
    decisions: list[DecisionDocument]
    retake_requests: list[RequestHistoryDocument]
    audit: list[AuditEventDocument]
