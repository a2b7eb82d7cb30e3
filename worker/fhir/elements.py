"""The elements of FHIR R4 resources that are read. All others are ignored, and never stored or logged.

Names and types: https://hl7.org/fhir/R4/communication.html, documentreference.html, media.html, datatypes.html.
No name, birth date or identifier of a patient is among them: of a reference, only its target is read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from triage.errors import UsageError, validation_problems

MAX_REFERENCES: Final = 100
"""In an element of a message: each can take a request or a query."""

MAX_PAYLOAD: Final = 1_000
"""Parts of a message, texts among them."""

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
ResourceT = TypeVar("ResourceT", bound="Resource")


class Element(BaseModel):
    """An element of a resource. JSON types are not converted: FHIR writes numbers as numbers and text as text."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)


class Reference(Element):
    """A reference to a resource. A logical one, which names a target by identifier only, has no `reference`."""

    reference: str | None = None
    type: str | None = None


class Identifier(Element):
    """Of something that is no person."""

    system: str | None = None
    value: str | None = Field(None, repr=False)


class RequestReference(Reference):
    """A reference to a request, which is no person: its identifier is read."""

    identifier: Identifier | None = None


class Attachment(Element):
    """Bytes, inline or at a URL. `hash` is their SHA-1; `size` and `hash` are of the bytes before base64."""

    content_type: str | None = Field(None, alias="contentType")
    data: str | None = Field(None, repr=False)
    url: str | None = Field(None, repr=False)
    size: int | None = Field(None, ge=0)
    hash: str | None = None


class Payload(Element):
    """Text, an attachment or a reference. Text is not read."""

    attachment: Attachment | None = Field(None, alias="contentAttachment")
    reference: Reference | None = Field(None, alias="contentReference")


class Coding(Element):
    code: str | None = None


class CodeableConcept(Element):
    coding: list[Coding] = []


class Resource(Element):
    id: Id | None = None

    @classmethod
    def read(cls, resource: Mapping[str, Any]) -> Self:
        """The elements of a resource.

        Raises:
            UsageError: it is another resource, or an element is malformed. The error has no value of the resource.
        """
        try:
            return cls.model_validate(resource)
        except ValidationError as error:
            raise UsageError(f"invalid {cls.__name__}: {validation_problems(error)}") from error


class Communication(Resource):
    """A message."""

    resource_type: Literal["Communication"] = Field(alias="resourceType")
    identifier: list[Identifier] = []
    status: str
    language: str | None = None
    sender: Reference | None = None
    subject: Reference | None = None
    encounter: Reference | None = None
    part_of: list[Reference] = Field([], alias="partOf", max_length=MAX_REFERENCES)
    in_response_to: list[Reference] = Field([], alias="inResponseTo", max_length=MAX_REFERENCES)
    based_on: list[RequestReference] = Field([], alias="basedOn", max_length=MAX_REFERENCES)
    payload: list[Payload] = Field([], max_length=MAX_PAYLOAD)
    contained: list[dict[str, Any]] = Field([], repr=False)


class DocumentContent(Element):
    attachment: Attachment


class DocumentReference(Resource):
    """A document with one or more attachments, such as the formats of one photo."""

    resource_type: Literal["DocumentReference"] = Field(alias="resourceType")
    status: str
    content: list[DocumentContent] = []


class Media(Resource):
    """A photo with the site of the body that it shows."""

    resource_type: Literal["Media"] = Field(alias="resourceType")
    status: str
    content: Attachment
    body_site: CodeableConcept | None = Field(None, alias="bodySite")


class Asking(Resource):
    """A request for a message, or a message that asks for one, by its identifiers."""

    resource_type: Literal["CommunicationRequest", "Communication"] = Field(alias="resourceType")
    identifier: list[Identifier] = []


class Binary(Resource):
    """Bytes alone."""

    resource_type: Literal["Binary"] = Field(alias="resourceType")
    content_type: str | None = Field(None, alias="contentType")
    data: str = Field("", repr=False)
