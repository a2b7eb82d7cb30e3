"""The documents of the task `inbox.submit`: a message from a sender, and the answer."""

from typing import Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.errors import ServiceUnavailableError, TriageError, UsageError, validation_problems
from worker.documents.document import Document

_FIELDS: Final = {"declared_type": "media_type"}
"""Fields of an attachment that a submission names differently."""


class SubmittedAttachment(BaseModel):
    """A photo at a URI below an allowed root. Without an `id`, the hash of the URI serves as one."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    uri: str
    id: str | None = None
    group: str | None = None
    media_type: str | None = None


class Submission(BaseModel):
    """A message. All ids are opaque and must not identify the patient."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    source: str
    message_id: str
    attachments: list[SubmittedAttachment] = Field(min_length=1)
    thread: str | None = None
    role: str = "patient"
    locale: str = "en"
    opted_out: bool = False

    def to_message(self) -> IncomingMessage:
        return IncomingMessage(
            source=self.source,
            external_id=self.message_id,
            attachments=[
                IncomingAttachment(uri=a.uri, external_id=a.id, group=a.group, declared_type=a.media_type)
                for a in self.attachments
            ],
            thread=self.thread,
            role=self.role,
            locale=self.locale,
            opted_out=self.opted_out,
        )


class ReceivedAttachmentDocument(Document):
    id: UUID
    attachment_id: str
    conflict: bool
    unchanged: list[str]


class ReceiptDocument(Document):
    """The answer to a message that was stored. `created` is false if neither the message nor a photo is new.

    `conflict` marks a photo whose id belongs to another photo, which is kept. `unchanged` names fields that were stored
    with another value before, which is kept.
    """

    message_id: str
    attachments: list[ReceivedAttachmentDocument]
    created: bool
    unchanged: list[str]

    @classmethod
    def of(cls, acceptance: Acceptance) -> Self:
        return cls(
            message_id=acceptance.external_id,
            attachments=[
                ReceivedAttachmentDocument(
                    id=attachment.id,
                    attachment_id=attachment.external_id,
                    conflict=attachment.conflict,
                    unchanged=[_FIELDS.get(name, name) for name in attachment.unchanged],
                )
                for attachment in acceptance.attachments
            ],
            created=acceptance.created,
            unchanged=list(acceptance.unchanged),
        )


class RejectionErrorDocument(Document):
    code: Literal["invalid", "unavailable"]
    message: str


class RejectionDocument(Document):
    """The answer to a message that was not stored: fix it if `invalid`, retry if `unavailable`."""

    error: RejectionErrorDocument

    @classmethod
    def of(cls, error: TriageError) -> Self:
        code: Literal["invalid", "unavailable"] = "invalid"
        if isinstance(error, ServiceUnavailableError):
            code = "unavailable"
        return cls(error=RejectionErrorDocument(code=code, message=str(error)))


def parse_submission(document: object) -> Submission:
    """Validates a message from a sender.

    Raises:
        UsageError: a field is missing, unknown or of the wrong type. The error names it and omits its value.
    """
    try:
        return Submission.model_validate(document)
    except ValidationError as error:
        raise UsageError(f"invalid message: {validation_problems(error)}") from error
