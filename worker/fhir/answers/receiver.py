"""Writes verdicts and retake requests to the FHIR server that their messages came from.

Each resource carries an identifier of this product and is created unless one with this identifier exists, so a repeat
changes nothing. A resource is the present state of its rows, so the order of events does not matter.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import structlog
from sqlalchemy.orm import Session

from triage.domain.answers import Answer as Answered
from triage.domain.answers import RequestAnswer, VerdictsAnswer
from triage.domain.deliveries import Answer, ClaimedDelivery
from triage.domain.ids import EventId, RetakeRequestId
from triage.domain.states import DeliveryError, EventKind
from triage.retakes.handover import hand_over
from triage.storage import answers
from worker.fhir.answers.asking import communication, communication_request, ends, task
from worker.fhir.answers.observation import amended, observation, supersedes
from worker.fhir.parts import Resource, identifier_query
from worker.fhir.references import Target
from worker.fhir.server.client import FhirClient, Stored
from worker.fhir.server.errors import (
    ConflictError,
    FhirRefusedError,
    FhirUnavailableError,
    NotThereError,
    RejectedError,
)
from worker.setting_groups import RetakeResource

log = structlog.get_logger(__name__)

_OK = 200
_CONFLICT = 409
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class FhirReceiver:
    """
    Attributes:
        client: of the server.
        source: of the messages that came from it.
        retakes_as: the resource of a retake request; `none` if a message system sends them.
        task_owner: the reference of those who do the tasks.
    """

    client: FhirClient
    source: str
    retakes_as: RetakeResource = "CommunicationRequest"
    task_owner: str | None = None

    def load(self, session: Session, claimed: Collection[ClaimedDelivery]) -> Mapping[EventId, Answered]:
        written = (each for each in claimed if each.kind is EventKind.MESSAGE_DECIDED or self.retakes_as != "none")
        return answers.load(session, list(written), source=self.source)

    def send(self, item: Answered) -> Answer:
        try:
            match item:
                case VerdictsAnswer():
                    for photo in item.photos:
                        self._write_verdict(observation(photo, item.message, item.origin))
                case RequestAnswer():
                    self._ask(item)
        except FhirUnavailableError as error:
            return Answer(DeliveryError.UNREACHABLE, retry_after=error.retry_after)
        except FhirRefusedError:
            return Answer(DeliveryError.REFUSED)
        except ConflictError:  # another client has changed the resource: the next attempt reads it again
            return Answer(DeliveryError.REFUSED, _CONFLICT)
        except NotThereError:
            return Answer(DeliveryError.REFUSED, _NOT_FOUND)
        except RejectedError as error:
            return Answer(DeliveryError.REFUSED, error.status)
        return Answer()

    def record(self, session: Session, accepted: Collection[ClaimedDelivery]) -> None:
        """As `Receiver.record`: requests that the server has are sent."""
        asked = [RetakeRequestId(each.subject_id) for each in accepted if each.kind is EventKind.RETAKE_REQUESTED]
        hand_over(session, asked, by=self.source)

    def _write_verdict(self, resource: Resource) -> None:
        stored = self._create(resource)
        if not stored.is_new and supersedes(resource, dict(stored.resource)):
            self.client.update(amended(dict(stored.resource), resource), etag=stored.etag)

    def _ask(self, request: RequestAnswer) -> None:
        if self.retakes_as == "Communication":
            self._write_request(communication(request))
            return
        stored = self._write_request(communication_request(request))
        if self.retakes_as == "Task":
            focus = str(stored.target or f"CommunicationRequest/{stored.resource['id']}")
            self._write_request(task(request, focus=focus, owner=self.task_owner))

    def _write_request(self, resource: Resource) -> Stored:
        """A closed request is created too if it is missing: its creation may be on the way from another process."""
        stored = self._create(resource)
        if ends(resource, stored.resource):
            self.client.update(dict(stored.resource) | {"status": resource["status"]}, etag=stored.etag)
        return stored

    def _create(self, resource: Resource) -> Stored:
        """Creates a resource, or returns the stored one with the same identifier, complete.

        The answer may be without a body, or an OperationOutcome.
        """
        try:
            stored = self.client.create(resource, unless=identifier_query(resource))
        except ConflictError:
            return self._oldest(resource)
        if _is_same_type(stored.resource, resource):
            return stored
        if stored.target is None or stored.target.type != resource["resourceType"]:
            return self._oldest(resource)
        if stored.is_new:
            return replace(stored, resource=resource)
        found = self.client.read(stored.target)
        if not _is_same_type(found.resource, resource):
            raise RejectedError("the FHIR server gives another resource than the one asked for", _OK)
        return found

    def _oldest(self, resource: Resource) -> Stored:
        """The first of several resources with one identifier, which some servers create if two requests race."""
        kind = resource["resourceType"]
        query = quote(identifier_query(resource), safe="=")
        matching = self.client.search(f"{kind}?{query}")
        found = sorted((each for each in matching if _is_same_type(each, resource)), key=_age)
        if not found:
            raise ConflictError("the server refuses a condition that nothing meets")
        if len(found) > 1:
            log.warning("answer.doubled", kind=kind)
        return Stored(resource=found[0], target=Target(kind, found[0]["id"]), etag=_etag(found[0]))


def _is_same_type(stored: Mapping[str, Any], resource: Resource) -> bool:
    return stored.get("resourceType") == resource["resourceType"] and isinstance(stored.get("id"), str)


def _age(resource: Mapping[str, Any]) -> tuple[str, str]:
    meta = resource.get("meta")
    updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return str(updated or ""), str(resource.get("id"))


def _etag(resource: Mapping[str, Any]) -> str | None:
    meta = resource.get("meta")
    version = meta.get("versionId") if isinstance(meta, dict) else None
    return f'W/"{version}"' if version else None
