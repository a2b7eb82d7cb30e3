"""The JSON document of `inbox.submit`: what a sender may say of a message, checked field by field."""

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.errors import UsageError


class SubmittedAttachment(BaseModel):
    """A photo at a URI below an allowed root. Without an `id`, the URI's hash serves as one."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    uri: str
    id: str | None = None
    group: str | None = None
    media_type: str | None = None


class Submission(BaseModel):
    """A message. All ids are opaque to this product, and must not say who the patient is."""

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


def parse_submission(document: object) -> Submission:
    """
    Raises:
        UsageError: a field is missing, unknown or of the wrong type; the message names it and never shows its value.
    """
    try:
        return Submission.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, problem["loc"])) or "message" for problem in error.errors()}))
        raise UsageError(f"the message is malformed at: {fields}") from error
