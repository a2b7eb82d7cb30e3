"""Resources that ask a patient for new photos, as plain dictionaries: for a list of requests, for a pool of staff, or
directly as a message.

Sources: https://hl7.org/fhir/R4/communicationrequest.html, task.html, communication.html.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from triage.domain.answers import RequestAnswer
from worker.fhir import terms
from worker.fhir.parts import PRODUCT, Resource, concept, instant, reference, without_empty
from worker.fhir.references import target_of


@dataclass(frozen=True, slots=True)
class _Statuses:
    """Codes of R4 for a type of resource.

    Attributes:
        asked: of a request that holds.
        withdrawn: of one that no longer does.
        answered: of one that the patient has answered.
        open: those that may still change to one of the others.
    """

    asked: str
    withdrawn: str
    answered: str
    open: frozenset[str]

    def of(self, request: RequestAnswer) -> str:
        if request.is_answered:
            return self.answered
        return self.withdrawn if request.is_withdrawn else self.asked


_STATUSES: Final[Mapping[str, _Statuses]] = {
    "CommunicationRequest": _Statuses("active", "revoked", "completed", frozenset({"draft", "active", "on-hold"})),
    "Task": _Statuses(
        "requested",
        "cancelled",
        "completed",
        frozenset({"draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold"}),
    ),
    "Communication": _Statuses(
        "completed",
        "entered-in-error",
        "completed",
        frozenset({"preparation", "in-progress", "on-hold", "completed", "unknown"}),
    ),
}


def communication_request(request: RequestAnswer) -> Resource:
    """The request to ask the patient for new photos, with the text for the patient."""
    return _asking(request, "CommunicationRequest", terms.REQUEST_PROFILE) | without_empty(
        {
            "basedOn": _message(request),
            "priority": "routine",
            "authoredOn": instant(request.at),
            "requester": {"type": "Device", "display": PRODUCT},
        }
    )


def communication(request: RequestAnswer) -> Resource:
    """The text for the patient as a message, for servers that show such messages to the patient."""
    in_thread = request.thread != request.message and target_of(request.thread, base="")
    return _asking(request, "Communication", terms.MESSAGE_PROFILE) | without_empty(
        {
            "inResponseTo": _message(request),
            "partOf": [reference(request.thread)] if in_thread else [],
            "sent": instant(request.at),
            "sender": {"type": "Device", "display": PRODUCT},
        }
    )


def task(request: RequestAnswer, *, focus: str, owner: str | None) -> Resource:
    """The task of staff to ask the patient.

    Args:
        request: the retake request.
        focus: the reference of its CommunicationRequest.
        owner: the reference of those who do it, such as `Organization/7`.
    """
    origin = request.origin
    return without_empty(
        {
            "resourceType": "Task",
            "meta": {"profile": [terms.TASK_PROFILE]},
            "identifier": [{"system": terms.REQUEST_ID, "value": str(request.id)}],
            "status": _STATUSES["Task"].of(request),
            "intent": "order",
            "priority": "routine",
            "code": concept(terms.TASK_CODE, "fulfill"),
            "focus": reference(focus),
            "for": reference(origin.subject if origin else None),
            "encounter": reference(origin.encounter if origin else None),
            "authoredOn": instant(request.at),
            "requester": {"type": "Device", "display": PRODUCT},
            "owner": reference(owner),
        }
    )


def ends(resource: Resource, stored: Mapping[str, object]) -> bool:
    """Whether the stored resource must get the status of this one: it is open, and the request has ended."""
    statuses = _STATUSES[resource["resourceType"]]
    return resource["status"] != statuses.asked and stored.get("status") in statuses.open - {resource["status"]}


def _asking(request: RequestAnswer, kind: str, profile: str) -> Resource:
    origin, reply = request.origin, request.reply
    return without_empty(
        {
            "resourceType": kind,
            "meta": {"profile": [profile]},
            "language": reply.locale if reply else None,
            "identifier": [{"system": terms.REQUEST_ID, "value": str(request.id)}],
            "status": _STATUSES[kind].of(request),
            "category": [concept(terms.COMMUNICATION_CATEGORY, "instruction")],
            "subject": reference(origin.subject if origin else None),
            "encounter": reference(origin.encounter if origin else None),
            "payload": [{"contentString": reply.text}] if reply else [],
            "recipient": [reference(origin.author)] if origin and origin.author else [],
        }
    )


def _message(request: RequestAnswer) -> list[Resource | None]:
    return [reference(request.message)] if target_of(request.message, base="") else []
