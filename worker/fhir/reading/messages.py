"""From a Communication to a message with photos. Everything of a patient that is not needed stays unread.

A message comes from a patient or a related person. Photos are attachments, or Binary, DocumentReference and Media
resources that the message refers to; other content is counted and left alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from triage.domain.ids import RetakeRequestId
from triage.domain.limits import IntakeLimits
from triage.domain.messages import IncomingAttachment
from triage.errors import AttachmentError, UsageError
from worker.fhir.content import Room
from worker.fhir.elements import (
    Communication,
    Identifier,
    Reference,
)
from worker.fhir.reading.photos import Photos, Server
from worker.fhir.references import Target, target_of
from worker.fhir.terms import REQUEST_ID

MAX_REPLIES: Final = 20
"""Messages that are followed to the first of a thread."""

_ROLES: Final = {"Patient": "patient", "RelatedPerson": "related-person"}
_DEFINITION: Final = "http://hl7.org/fhir/StructureDefinition/"
_TAKEN: Final = frozenset({"in-progress", "completed", "unknown"})
_WITHDRAWN: Final = frozenset({"entered-in-error", "not-done", "stopped"})


class Step(StrEnum):
    """What follows from a Communication."""

    TAKE = "take"
    WITHDRAW = "withdraw"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class PatientMessage:
    """A message with its photos.

    Attributes:
        thread: the message or the topic that the conversation began with; None if it begins with this message.
        subject: the patient that the message is about, as an opaque reference, for answers.
        sender: likewise its author; None if the message gives the type alone.
        answers: CommunicationRequests and Communications that the message answers, of this product or of others.
        answered: retake requests that the message names by their identifiers.
        left_alone: content that is not a photo, counted by kind.
    """

    role: str
    thread: str | None
    locale: str | None
    subject: str | None
    encounter: str | None
    sender: str | None
    answers: Sequence[str]
    answered: Sequence[RetakeRequestId]
    attachments: Sequence[IncomingAttachment]
    left_alone: Counter[str] = field(default_factory=Counter)


def next_step(communication: Communication, *, base: str | None) -> Step:
    """What follows from a Communication by its status and sender.

    Messages of staff and of devices, this product's own among them, are ignored, and so are drafts.
    """
    if _role(communication, base) is None:
        return Step.IGNORE
    if communication.status in _WITHDRAWN:
        return Step.WITHDRAW
    return Step.TAKE if communication.status in _TAKEN else Step.IGNORE


def read_message(
    communication: Communication,
    server: Server,
    *,
    base: str | None,
    limits: IntakeLimits,
    beside: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    room: Room | None = None,
) -> PatientMessage:
    """The message of a Communication that is to be taken, with the bytes of its photos.

    A photo that cannot be read is kept with an error code: staff see that it exists. Of more photos than intake
    accepts, one too many is read, for which intake refuses the message.

    Args:
        communication: of a patient or a related person.
        server: where the references lead.
        base: of that server.
        limits: of intake.
        beside: resources that came with the message, by the reference to each.
        room: for the photos, if the message is not alone in it.

    Raises:
        UsageError: the Communication is malformed.
        TooMuchError: there is no room for a photo.
        ServiceUnavailableError: the server cannot answer now; read the message again later.
    """
    role = _role(communication, base)
    if role is None:
        raise UsageError("the Communication has no patient or related person as its sender: send only their messages")
    left_alone: Counter[str] = Counter()
    contained = {f"#{each.get('id')}": each for each in communication.contained}
    photos = Photos(server, {**beside, **contained}, base, limits.max_bytes, left_alone, room)
    found = (
        photo for index, payload in enumerate(communication.payload) for photo in photos.of(payload, f"payload/{index}")
    )
    return PatientMessage(
        role=role,
        thread=_thread(communication, server, base),
        locale=communication.language,
        subject=_opaque(communication.subject, base),
        encounter=_opaque(communication.encounter, base),
        sender=_opaque(communication.sender, base),
        answers=[
            str(target)
            for kind, references in (
                ("CommunicationRequest", communication.based_on),
                ("Communication", communication.in_response_to),
            )
            for reference in references
            if (target := target_of(reference, base=base)) and target.type == kind
        ],
        answered=named_requests(communication),
        attachments=list(islice(found, limits.max_attachments + 1)),
        left_alone=left_alone,
    )


def named_requests(communication: Communication) -> list[RetakeRequestId]:
    """The retake requests that a message answers by their identifiers."""
    identifiers = [each.identifier for each in communication.based_on if each.identifier]
    return [id_ for each in identifiers if (id_ := request_id(each))]


def request_id(identifier: Identifier) -> RetakeRequestId | None:
    """The retake request that an identifier names; None if it is not one of this product."""
    if identifier.system != REQUEST_ID or not identifier.value:
        return None
    try:
        return RetakeRequestId(UUID(identifier.value))
    except ValueError:
        return None


def _role(communication: Communication, base: str | None) -> str | None:
    """The role of the author, by the target or the type of the reference; None if it is not a patient's message."""
    sender = communication.sender
    target = target_of(sender, base=base)
    kind = target.type if target else sender.type if sender and sender.reference is None else None
    return _ROLES.get((kind or "").removeprefix(_DEFINITION))


def _thread(communication: Communication, server: Server, base: str | None) -> str | None:
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


def _opaque(reference: Reference | None, base: str | None) -> str | None:
    target = target_of(reference, base=base)
    return str(target) if target else None
