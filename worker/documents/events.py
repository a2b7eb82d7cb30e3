"""Events, as webhooks send them: what happened, to which of the sender's messages, and codes. No patient data."""

from typing import Literal, Self
from uuid import UUID

from triage.domain.deliveries import Event, EventDecision, EventRequest
from triage.domain.states import DecidedBy, EventKind, Outcome, Reason
from worker.documents.document import Document, UtcTime


class DecidedData(Document):
    """A decision. `request_id` is the retake request that it flagged."""

    decision_id: UUID
    message_id: str
    source: str
    thread: str
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model: str | None
    decided_at: UtcTime
    request_id: UUID | None

    @classmethod
    def of(cls, event: Event, decision: EventDecision) -> Self:
        return cls(
            decision_id=decision.id,
            message_id=event.message,
            source=event.source,
            thread=event.thread,
            outcome=decision.outcome,
            reason=decision.reason,
            decided_by=decision.decided_by,
            model=decision.model,
            decided_at=decision.decided_at,
            request_id=event.request.id if event.request else None,
        )


class RequestedData(Document):
    """A retake request. Claim it before the reply is sent: it may be withdrawn since."""

    request_id: UUID
    message_id: str
    source: str
    thread: str

    @classmethod
    def of(cls, event: Event, request: EventRequest) -> Self:
        return cls(request_id=request.id, message_id=event.message, source=event.source, thread=event.thread)


class WithdrawnData(RequestedData):
    """A withdrawn retake request. `may_have_been_sent`: a sender has claimed it before."""

    withdrawn_reason: str | None
    may_have_been_sent: bool

    @classmethod
    def of(cls, event: Event, request: EventRequest) -> Self:
        return cls(
            **dict(RequestedData.of(event, request)),
            withdrawn_reason=request.withdrawn_reason,
            may_have_been_sent=request.may_have_been_sent,
        )


class _EventDocument(Document):
    event_id: UUID
    timestamp: UtcTime


class MessageDecidedDocument(_EventDocument):
    """A message was decided: for the first time, or again."""

    type: Literal[EventKind.MESSAGE_DECIDED]
    data: DecidedData


class RetakeRequestedDocument(_EventDocument):
    """A retake request was flagged."""

    type: Literal[EventKind.RETAKE_REQUESTED]
    data: RequestedData


class RetakeWithdrawnDocument(_EventDocument):
    """A retake request was withdrawn: its reply must not be sent."""

    type: Literal[EventKind.RETAKE_WITHDRAWN]
    data: WithdrawnData


class RetakeAnsweredDocument(_EventDocument):
    """The patient has answered a retake request with a message."""

    type: Literal[EventKind.RETAKE_ANSWERED]
    data: RequestedData


def event_body(event: Event) -> bytes:
    """The body of a webhook request, the same in all attempts unless the message is forgotten in between."""
    return _document(event).model_dump_json().encode()


def _document(event: Event) -> _EventDocument:
    head = {"event_id": event.id, "timestamp": event.occurred_at, "type": event.kind}
    match event:
        case Event(kind=EventKind.MESSAGE_DECIDED, decision=EventDecision() as decision):
            return MessageDecidedDocument(**head, data=DecidedData.of(event, decision))
        case Event(kind=EventKind.RETAKE_REQUESTED, request=EventRequest() as request):
            return RetakeRequestedDocument(**head, data=RequestedData.of(event, request))
        case Event(kind=EventKind.RETAKE_WITHDRAWN, request=EventRequest() as request):
            return RetakeWithdrawnDocument(**head, data=WithdrawnData.of(event, request))
        case Event(kind=EventKind.RETAKE_ANSWERED, request=EventRequest() as request):
            return RetakeAnsweredDocument(**head, data=RequestedData.of(event, request))
        case _:
            raise AssertionError("an event names the row that it is about")
