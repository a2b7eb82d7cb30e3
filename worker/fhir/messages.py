"""From a Communication to a message with photos. Everything of a patient that is not needed stays unread.

A message comes from a patient or a related person. Photos are attachments, or Binary, DocumentReference and Media
resources that the message refers to; other content is counted and left alone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from triage.domain.messages import IncomingAttachment
from triage.errors import AttachmentError, ErrorCode, UsageError
from worker.fhir.content import check_integrity, inline_bytes, may_be_photo
from worker.fhir.elements import Attachment, Binary, Communication, DocumentReference, Media, Payload, Reference
from worker.fhir.references import Target, target_of

MAX_REPLIES: Final = 20
"""Messages that are followed to the first of a thread."""

_ROLES: Final = {"Patient": "patient", "RelatedPerson": "related-person"}
_TAKEN: Final = frozenset({"in-progress", "completed", "unknown"})
_WITHDRAWN: Final = frozenset({"entered-in-error", "not-done", "stopped"})
_DESCRIBED: Final = frozenset({"DocumentReference", "Media"})
_SUPERSEDED: Final = frozenset({"entered-in-error", "superseded", "not-done", "stopped"})


class Step(StrEnum):
    """What follows from a Communication."""

    TAKE = "take"
    WITHDRAW = "withdraw"
    IGNORE = "ignore"


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
            ServiceUnavailableError: the server cannot answer now.
        """


@dataclass(frozen=True, slots=True)
class PatientMessage:
    """A message with its photos.

    Attributes:
        thread: the message or the topic that the conversation began with; None if it begins with this message.
        subject: the patient that the message is about, as an opaque reference, for answers.
        answers: CommunicationRequests that the message answers.
        left_alone: content that is not a photo, counted by kind.
    """

    role: str
    thread: str | None
    locale: str | None
    subject: str | None
    encounter: str | None
    sender: str
    answers: Sequence[str]
    attachments: Sequence[IncomingAttachment]
    left_alone: Counter[str] = field(default_factory=Counter)


def next_step(communication: Communication, *, base: str) -> Step:
    """What follows from a Communication by its status and sender.

    Messages of staff and of devices, this product's own among them, are ignored, and so are drafts.
    """
    sender = target_of(communication.sender, base=base)
    if sender is None or sender.type not in _ROLES:
        return Step.IGNORE
    if communication.status in _WITHDRAWN:
        return Step.WITHDRAW
    return Step.TAKE if communication.status in _TAKEN else Step.IGNORE


def read_message(communication: Communication, server: Server, *, base: str, max_bytes: int) -> PatientMessage:
    """The message of a Communication that is to be taken, with the bytes of its photos.

    A photo that cannot be read is kept with an error code: staff see that it exists.

    Raises:
        UsageError: the Communication is malformed.
        ServiceUnavailableError: the server cannot answer now; read the message again later.
    """
    sender = target_of(communication.sender, base=base)
    if sender is None or sender.type not in _ROLES:
        raise UsageError("the Communication has no patient or related person as its sender: send only their messages")
    left_alone: Counter[str] = Counter()
    photos = _Photos(server, communication.contained, base, max_bytes, left_alone)
    return PatientMessage(
        role=_ROLES[sender.type],
        thread=_thread(communication, server, base),
        locale=communication.language,
        subject=_opaque(communication.subject, base),
        encounter=_opaque(communication.encounter, base),
        sender=str(sender),
        answers=[
            str(target)
            for reference in communication.based_on
            if (target := target_of(reference, base=base)) and target.type == "CommunicationRequest"
        ],
        attachments=[
            photo
            for index, payload in enumerate(communication.payload)
            for photo in photos.of(payload, f"payload/{index}")
        ],
        left_alone=left_alone,
    )


def _thread(communication: Communication, server: Server, base: str) -> str | None:
    """`partOf` if the server has topics, else the first message, found by following `inResponseTo`."""
    found = None
    seen: set[Target] = set()
    while len(seen) < MAX_REPLIES:
        for reference in communication.part_of:
            if target := target_of(reference, base=base):
                return str(target)
        target = next(filter(None, (target_of(each, base=base) for each in communication.in_response_to)), None)
        if target is None or target in seen or target.type != "Communication":
            break
        seen.add(target)
        found = str(target)
        try:
            communication = Communication.read(server.resource(target))
        except (AttachmentError, UsageError):  # it was deleted, or is not for this product
            break
    return found


def _opaque(reference: Reference | None, base: str) -> str | None:
    target = target_of(reference, base=base)
    return str(target) if target else None


@dataclass(frozen=True, slots=True)
class _Photos:
    """The photos of one Communication."""

    server: Server
    contained: Sequence[Mapping[str, Any]]
    base: str
    max_bytes: int
    left_alone: Counter[str]

    def of(self, payload: Payload, place: str) -> Iterator[IncomingAttachment]:
        """The photos of one part of the message. Their ids stay the same when the message is read again."""
        if payload.attachment:
            yield from self._of_attachment(payload.attachment, place)
        elif payload.reference:
            target = target_of(payload.reference, base=self.base)
            try:
                yield from self._of_reference(payload.reference, target, str(target or place))
            except AttachmentError as error:
                yield IncomingAttachment(error_code=error.code, external_id=str(target or place))

    def _of_reference(self, reference: Reference, target: Target | None, id_: str) -> Iterator[IncomingAttachment]:
        if target and target.type == "Binary":
            yield from self._of_attachment(Attachment(url=str(target)), id_)
            return
        resource: Mapping[str, Any] = {}
        if target and target.type in _DESCRIBED:
            resource = self.server.resource(target)
        elif target is None:
            resource = next((each for each in self.contained if f"#{each.get('id')}" == reference.reference), {})
        match resource.get("resourceType"):
            case "Binary":
                binary = Binary.read(resource)
                yield from self._of_attachment(Attachment(contentType=binary.content_type, data=binary.data), id_)
            case "DocumentReference":
                yield from self._of_document(DocumentReference.read(resource), id_)
            case "Media":
                yield from self._of_media(Media.read(resource), id_)
            case _:
                self.left_alone[target.type if target else "unknown reference"] += 1

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
        except AttachmentError as error:
            yield IncomingAttachment(error_code=error.code, external_id=id_, group=group)
        else:
            yield IncomingAttachment(data=data, external_id=id_, group=group, declared_type=attachment.content_type)

    def _bytes_of(self, attachment: Attachment) -> bytes:
        if attachment.data is not None:
            return inline_bytes(attachment.data, max_bytes=self.max_bytes)
        if attachment.url is None:
            raise AttachmentError(ErrorCode.EMPTY, "the attachment has neither data nor a URL: send one of them")
        return self.server.content(attachment.url, attachment.content_type)
