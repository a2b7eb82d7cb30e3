"""The photos of a Communication: attachments, and what it refers to. One that cannot be read has an error code."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from triage.domain.messages import IncomingAttachment
from triage.errors import AttachmentError, ErrorCode, UsageError
from worker.fhir.content import AnotherTypeError, Room, check_integrity, inline_bytes, may_be_photo
from worker.fhir.elements import Attachment, Binary, DocumentReference, Media, Payload
from worker.fhir.references import Target, target_of

_DESCRIBED: Final = frozenset({"DocumentReference", "Media"})
_SUPERSEDED: Final = frozenset({"entered-in-error", "superseded", "not-done", "stopped"})


class Server(Protocol):
    """Reads what a message refers to, with this product's own rights."""

    def resource(self, target: Target) -> Mapping[str, Any]:
        """
        Raises:
            AttachmentError: it does not exist, or may not be read.
            ServiceUnavailableError: the server cannot answer now.
        """

    def content(self, url: str, media_type: str | None) -> bytes:
        """The bytes of a Binary or at another URL, relative to the server's base.

        Raises:
            AttachmentError: nothing is there, it is too large, or the URL is not allowed.
            AnotherTypeError: no media type is given, and what is there is not a photo.
            ServiceUnavailableError: the server cannot answer now.
        """


@dataclass(frozen=True, slots=True)
class Photos:
    """The photos of one Communication.

    Attributes:
        decoded: by base64, so that a resource that is referred to many times is held once.
    """

    server: Server
    beside: Mapping[str, Mapping[str, Any]]
    base: str | None
    max_bytes: int
    left_alone: Counter[str]
    room: Room | None
    decoded: dict[str, bytes] = field(default_factory=dict)

    def of(self, payload: Payload, place: str) -> Iterator[IncomingAttachment]:
        """The photos of one part of the message. Their ids stay the same when the message is read again."""
        if payload.attachment:
            yield from self._of_attachment(payload.attachment, place)
        elif payload.reference:
            resource = self.beside.get(payload.reference.reference or "")
            target = None if resource else target_of(payload.reference, base=self.base)
            id_ = str(target or place)
            try:
                yield from self._of_resource(resource or {}, id_) if target is None else self._of_target(target, id_)
            except (AttachmentError, UsageError) as error:
                yield IncomingAttachment(error_code=_code_of(error), external_id=id_)

    def _of_target(self, target: Target, id_: str) -> Iterator[IncomingAttachment]:
        if target.type == "Binary":
            yield from self._of_attachment(Attachment(url=str(target)), id_)
        elif target.type in _DESCRIBED:
            yield from self._of_resource(self.server.resource(target), id_)
        else:
            self.left_alone["another resource"] += 1  # the type is what the message says, and these are logged

    def _of_resource(self, resource: Mapping[str, Any], id_: str) -> Iterator[IncomingAttachment]:
        match resource.get("resourceType"):
            case "Binary":
                yield from self._of_attachment(_attachment_of(resource), id_)
            case "DocumentReference":
                yield from self._of_document(DocumentReference.read(resource), id_)
            case "Media":
                yield from self._of_media(Media.read(resource), id_)
            case _:
                self.left_alone["unknown reference"] += 1

    def _of_document(self, document: DocumentReference, id_: str) -> Iterator[IncomingAttachment]:
        if document.status in _SUPERSEDED:
            self.left_alone["superseded document"] += 1
            return
        for index, content in enumerate(document.content):
            yield from self._of_attachment(content.attachment, f"{id_}/content/{index}")

    def _of_media(self, media: Media, id_: str) -> Iterator[IncomingAttachment]:
        if media.status in _SUPERSEDED:
            self.left_alone["superseded media"] += 1
            return
        codes = [coding.code for coding in media.body_site.coding if coding.code] if media.body_site else []
        yield from self._of_attachment(media.content, id_, group=next(iter(codes), None))

    def _of_attachment(
        self, attachment: Attachment, id_: str, group: str | None = None
    ) -> Iterator[IncomingAttachment]:
        if not may_be_photo(attachment.content_type):
            self.left_alone["content of another type"] += 1
            return
        try:
            data = self._bytes_of(attachment)
            check_integrity(attachment, data)
            if self.room:
                self.room.take(data)
        except AnotherTypeError:
            self.left_alone["content of another type"] += 1
        except (AttachmentError, UsageError) as error:
            yield IncomingAttachment(error_code=_code_of(error), external_id=id_, group=group)
        else:
            yield IncomingAttachment(data=data, external_id=id_, group=group, declared_type=attachment.content_type)

    def _bytes_of(self, attachment: Attachment) -> bytes:
        if attachment.data is not None:
            return self._decoded(attachment.data)
        if attachment.url is None:
            raise AttachmentError(ErrorCode.EMPTY, "the attachment has neither data nor a URL: send one of them")
        resource = self.beside.get(attachment.url)
        if resource is not None:
            return self._decoded(Binary.read(resource).data)
        return self.server.content(attachment.url, attachment.content_type)

    def _decoded(self, data: str) -> bytes:
        if data not in self.decoded:
            self.decoded[data] = inline_bytes(data, max_bytes=self.max_bytes)
        return self.decoded[data]


def _code_of(error: AttachmentError | UsageError) -> ErrorCode:
    """Why a photo cannot be read. A resource that is malformed, or another one, has no photo that could be read."""
    return error.code if isinstance(error, AttachmentError) else ErrorCode.CORRUPT


def _attachment_of(resource: Mapping[str, Any]) -> Attachment:
    binary = Binary.read(resource)
    return Attachment(contentType=binary.content_type, data=binary.data)
