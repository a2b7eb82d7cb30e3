"""The document of the task `inbox.submit`, a message from a sender, and the answer of each task that fails."""

from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.errors import ServiceUnavailableError, TriageError, UsageError, validation_problems
from worker.documents.document import Document

_DEPRECATED: Final[Any] = Field(default=None, json_schema_extra={"deprecated": True})


class SubmittedAttachment(BaseModel):
    """A photo at a URI below an allowed root. Without an `attachment_id`, the hash of the URI serves as one.

    `id` and `media_type` are deprecated names of `attachment_id` and `declared_type`.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    uri: str
    attachment_id: str | None = None
    group: str | None = None
    declared_type: str | None = None
    id: str | None = _DEPRECATED
    media_type: str | None = _DEPRECATED

    @model_validator(mode="after")
    def check_names(self) -> Self:
        for name, deprecated in (("attachment_id", "id"), ("declared_type", "media_type")):
            if {name, deprecated} <= self.model_fields_set:
                raise ValueError(f"give {name} without {deprecated}, which is its deprecated name")
        return self

    def to_attachment(self) -> IncomingAttachment:
        return IncomingAttachment(
            uri=self.uri,
            external_id=self.attachment_id if self.id is None else self.id,
            group=self.group,
            declared_type=self.declared_type if self.media_type is None else self.media_type,
        )


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
            attachments=[attachment.to_attachment() for attachment in self.attachments],
            thread=self.thread,
            role=self.role,
            locale=self.locale,
            opted_out=self.opted_out,
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
