"""A message as it is posted over HTTP: as JSON, or as the part `message` of a form whose other parts are photos."""

from typing import Self

from pydantic import Base64Bytes, Field, StrictBool, model_validator

from triage.domain.states import Fitzpatrick
from triage.domain.text import UNDETERMINED
from worker.documents.document import Call

MESSAGE_PART = "message"
"""Name of the part of a form that holds the message."""

MAX_ATTACHMENTS = 10_000
"""The largest limit that can be set: a longer list is refused before its photos are validated."""


class PostedAttachment(Call):
    """A photo: at a URI below an allowed root, as base64, or in the part of the form that `part` names."""

    uri: str | None = None
    data: Base64Bytes | None = Field(default=None, repr=False)
    part: str | None = None
    attachment_id: str | None = None
    group: str | None = None
    declared_type: str | None = None

    @model_validator(mode="after")
    def check_content(self) -> Self:
        if sum(each is not None for each in (self.uri, self.data, self.part)) != 1:
            raise ValueError("give one of uri, data and part")
        return self


class PostedMessage(Call):
    """A message. All ids are opaque and must not identify the patient.

    In a form, `attachments` may be omitted: then every other part is a photo, in the order sent.
    """

    source: str
    message_id: str
    attachments: list[PostedAttachment] | None = Field(default=None, max_length=MAX_ATTACHMENTS)
    thread: str | None = None
    role: str = "patient"
    locale: str = UNDETERMINED
    opted_out: StrictBool = False
    fitzpatrick: Fitzpatrick | None = None


class PostedForm(Call):
    """A form with the message as JSON in the part `message`. Each other part is a photo; file names are ignored."""

    message: PostedMessage
    photo: list[bytes] = Field(default=[], json_schema_extra={"items": {"type": "string", "format": "binary"}})
