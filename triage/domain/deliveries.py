"""Events for other systems, and their deliveries."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from triage.domain.ids import DecisionId, EventId, LeaseToken, MessageId, RetakeRequestId
from triage.domain.states import DecidedBy, DeliveryError, DeliveryStatus, EventKind, Outcome, Reason


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something that happened to a message. `subject_id` is the decision or the retake request."""

    kind: EventKind
    message_id: MessageId
    subject_id: UUID


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this process may attempt until its lease ends.

    Attributes:
        attempts: including this one.
        since_first: time since the first attempt, by the clock of the database.
    """

    id: EventId
    kind: EventKind
    message_id: MessageId
    subject_id: UUID
    attempts: int
    since_first: timedelta
    token: LeaseToken


@dataclass(frozen=True, slots=True)
class EventDecision:
    id: DecisionId
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model: str | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class EventRequest:
    """
    Attributes:
        may_have_been_sent: a sender has claimed it at least once.
        withdrawn_reason: a code, if it was withdrawn.
    """

    id: RetakeRequestId
    may_have_been_sent: bool
    withdrawn_reason: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """An event with all that receivers get: ids that the sender chose, our ids, codes and times.

    Attributes:
        message: the sender's id of the message; `thread` is that of its thread.
        decision: of `message.decided`.
        request: the one requested or withdrawn; of `message.decided`, the one that the decision flagged, if any.
    """

    id: EventId
    kind: EventKind
    occurred_at: datetime
    source: str
    message: str
    thread: str
    decision: EventDecision | None
    request: EventRequest | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one attempt.

    Attributes:
        error: None if the target has accepted the event.
        status: the HTTP status, if there was one.
        retry_after: how long the target asks to be left alone.
    """

    error: DeliveryError | None = None
    status: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Attempted:
    """What becomes of a delivery after an attempt: `retry_in` is the delay before the next, None if there is none."""

    delivery: ClaimedDelivery
    answer: Answer
    status: DeliveryStatus
    retry_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery, as people see it.

    Attributes:
        message: the sender's id of the message.
        answer: the HTTP status of the last attempt.
        due_at: the time of the next attempt; None if there will be none.
    """

    id: EventId
    target: str
    kind: EventKind
    source: str
    message: str
    status: DeliveryStatus
    attempts: int
    error: DeliveryError | None
    answer: int | None
    created_at: datetime
    due_at: datetime | None
    last_attempt_at: datetime | None
    finished_at: datetime | None
