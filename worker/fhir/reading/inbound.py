"""Messages on the EHR's FHIR server: reads one, and searches for those that no hook announced."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from uuid import uuid4

import structlog

from triage.domain.arrivals import Found
from triage.domain.ids import RetakeRequestId
from triage.domain.limits import IntakeLimits
from triage.domain.messages import IncomingMessage, Origin
from triage.domain.text import check_locale
from triage.errors import AttachmentError, Fault, UsageError
from worker.fhir.content import MessageRoom, Room
from worker.fhir.elements import Asking, Communication
from worker.fhir.reading.messages import PatientMessage, Step, next_step, read_message, request_id
from worker.fhir.reading.photos import Server
from worker.fhir.references import Target, target_of
from worker.fhir.server.client import FhirClient
from worker.fhir.server.errors import (
    FhirRefusedError,
    FhirUnavailableError,
    ForbiddenError,
    GoneError,
    NotThereError,
    RejectedError,
    UnknownError,
)

log = structlog.get_logger(__name__)

_AHEAD: Final = timedelta(days=1000)
"""Nothing arrives so late, whichever time the cursor is."""

LOCALE: Final = "en"
"""Of a message without a language that can be read."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """Implements `triage.arrivals.reading.Reader` and `triage.arrivals.search.Finder`.

    Attributes:
        client: of the server.
        server: reads what a message refers to.
        source: of the messages.
        limits: of intake.
        max_message_bytes: of the photos of a message, which are held in memory until it is accepted.
        query: a search for Communication, or None.
        cursor: the search parameter of the time at which a message arrived or changed.
    """

    client: FhirClient
    server: Server
    source: str
    limits: IntakeLimits
    max_message_bytes: int
    query: str | None = None
    cursor: str = "_lastUpdated"

    def read(self, reference: str) -> Found:
        """As `Reader.read`. A message that the server states to be absent is withdrawn.

        One that it does not know, and that a search does not find, is absent without being withdrawn: nothing states
        that its author took it back.

        Raises:
            FhirRefusedError: the server gives this client no message.
            ForbiddenError, RejectedError: it does not give this one.
        """
        target = target_of(reference, base=self.client.base)
        if target is None or target.type != "Communication":
            raise UsageError("the reference is not that of a Communication: announce messages only")
        try:
            resource = self.client.read(target).resource
        except GoneError:
            return Found(is_withdrawn=True, is_absent=True)
        except NotThereError as error:
            if isinstance(error, UnknownError) and self._finds_none(target):
                return Found(is_absent=True)
            raise FhirUnavailableError(
                "the FHIR server does not state whether a message exists: check the proxies before it"
            ) from error
        except ForbiddenError:
            self.check_rights()
            raise
        return self._found(target, resource)

    def check_rights(self) -> None:
        """Searches for a message that does not exist or, if the server is not searched, asks for it.

        Raises:
            FhirRefusedError: the server refuses this too, so that no message can be read.
            FhirUnavailableError: see there.
        """
        target = Target("Communication", str(uuid4()))
        try:
            if self.query is not None:
                next(self._with_id(target), None)
            else:
                self.client.read(target)
        except ForbiddenError as error:
            raise FhirRefusedError(
                "the FHIR server gives this client no message: permit it to read Communication", Fault.REFUSED
            ) from error
        except (NotThereError, RejectedError):
            pass

    def _finds_none(self, target: Target) -> bool:
        """Whether the server answers a search for a message, and finds none."""
        try:
            return next(self._with_id(target), None) is None
        except (FhirRefusedError, NotThereError, RejectedError):
            return False

    def _with_id(self, target: Target) -> Iterator[Mapping[str, Any]]:
        return self.client.search(f"Communication?_id={target.id}&_count=1")

    def find(self, since: datetime) -> Mapping[str, str | None]:
        """As `Finder.find`."""
        return {str(target): version_of(resource) for target, resource in self._matching(since)}

    def ignores_cursor(self) -> bool:
        """Whether the server finds messages of the future, because it ignores the time. Each search then reads all.

        Raises:
            FhirUnavailableError, FhirRefusedError, NotThereError, RejectedError: see there.
        """
        return next(self._matching(datetime.now(UTC) + _AHEAD), None) is not None

    def _matching(self, since: datetime) -> Iterator[tuple[Target, Mapping[str, Any]]]:
        if self.query is None:
            return
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        joined = f"{self.query}{'&' if '?' in self.query else '?'}{self.cursor}=ge{moment}Z"
        for resource in self.client.search(joined):
            if resource.get("resourceType") == "Communication" and isinstance(id_ := resource.get("id"), str):
                yield Target("Communication", id_), resource

    def _found(self, target: Target, resource: Mapping[str, Any]) -> Found:
        return found_in(
            Communication.read(resource),
            self.server,
            source=self.source,
            external_id=str(target),
            base=self.client.base,
            limits=self.limits,
            room=MessageRoom(self.max_message_bytes),
            version=version_of(resource),
        )


def found_in(
    communication: Communication,
    server: Server,
    *,
    source: str,
    external_id: str,
    base: str | None,
    limits: IntakeLimits,
    version: str | None = None,
    beside: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    room: Room | None = None,
) -> Found:
    """What a Communication is for this product: a message to accept, one that is withdrawn, or nothing.

    Args:
        communication: as it is now.
        server, base, limits, beside, room: as those of `worker.fhir.reading.messages.read_message`.
        source: of the message.
        external_id: of the message.
        version: of the Communication, if known.

    Raises:
        UsageError: the Communication is malformed.
        TooMuchError: there is no room for a photo.
        ServiceUnavailableError: the server cannot answer now.
    """
    match next_step(communication, base=base):
        case Step.WITHDRAW:
            return Found(version, is_withdrawn=True)
        case Step.IGNORE:
            return Found(version)
    message = read_message(communication, server, base=base, limits=limits, beside=beside, room=room)
    incoming = as_incoming(message, source, external_id)
    return Found(version, incoming, answers=_requests(message, server, base) if incoming else ())


def _requests(message: PatientMessage, server: Server, base: str | None) -> list[RetakeRequestId]:
    """The retake requests of this product that a message answers, by identifiers or by references."""
    found = [*message.answered]
    for reference in message.answers:
        target = target_of(reference, base=base)
        try:
            request = Asking.read(server.resource(target)) if target else None
        except (AttachmentError, UsageError):  # it was deleted, or is not for this product
            continue
        found += [id_ for each in (request.identifier if request else ()) if (id_ := request_id(each))]
    return found


def as_incoming(message: PatientMessage, source: str, external_id: str) -> IncomingMessage | None:
    """A message for intake; None if it has no photos."""
    if message.left_alone:
        log.info("content.ignored", reasons=dict(message.left_alone))
    if not message.attachments:
        return None
    return IncomingMessage(
        source=source,
        external_id=external_id,
        attachments=message.attachments,
        thread=message.thread,
        role=message.role,
        locale=_locale(message.locale),
        origin=Origin(message.subject, message.sender, message.encounter),
    )


def _locale(language: str | None) -> str:
    try:
        return check_locale(language or LOCALE)
    except UsageError:
        return LOCALE


def version_of(resource: Mapping[str, Any]) -> str | None:
    """The version of a resource, or the time of its last change; None if the server gives neither."""
    meta = resource.get("meta")
    found = [meta.get(name) for name in ("versionId", "lastUpdated")] if isinstance(meta, dict) else []
    return next((each for each in found if isinstance(each, str) and 0 < len(each) <= 64 and each.isprintable()), None)
