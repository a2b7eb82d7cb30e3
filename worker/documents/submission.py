"""The document of the task `inbox.submit`: a message from a sender."""

from typing import Any, Final, Self

from pydantic import Field, StrictBool, model_validator

from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.domain.states import Fitzpatrick
from triage.domain.text import UNDETERMINED
from worker.documents.document import Call

_DEPRECATED: Final[Any] = Field(default=None, json_schema_extra={"deprecated": True})


class SubmittedAttachment(Call):
    """A photo at a URI below an allowed root. Without an `attachment_id`, the hash of the URI serves as one.

    `id` and `media_type` are deprecated names of `attachment_id` and `declared_type`.
    """

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


class Submission(Call):
    """A message. All ids are opaque and must not identify the patient."""

    source: str
    message_id: str
    attachments: list[SubmittedAttachment] = Field(min_length=1)
    thread: str | None = None
    role: str = "patient"
    locale: str = UNDETERMINED
    opted_out: StrictBool = False
    fitzpatrick: Fitzpatrick | None = None

    def to_message(self) -> IncomingMessage:
        return IncomingMessage(
            source=self.source,
            external_id=self.message_id,
            attachments=[attachment.to_attachment() for attachment in self.attachments],
            thread=self.thread,
            role=self.role,
            locale=self.locale,
            opted_out=self.opted_out,
            fitzpatrick=self.fitzpatrick,
        )
