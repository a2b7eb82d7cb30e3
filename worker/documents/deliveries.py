"""Deliveries of events to other systems, as commands print them."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from triage.domain.deliveries import Delivery
from triage.domain.states import DeliveryError, DeliveryStatus, EventKind
from worker.documents.document import Document, UtcTime

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.deliveries.manage import Stopped


class DeliveryDocument(Document):
    """An event on its way to a target. `due_at` is the time of the next attempt, `answer` the last HTTP status."""

    event_id: UUID
    target: str
    type: EventKind
    source: str
    message_id: str
    status: DeliveryStatus
    attempts: int
    error: DeliveryError | None
    answer: int | None
    created_at: UtcTime
    due_at: UtcTime | None
    last_attempt_at: UtcTime | None
    finished_at: UtcTime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        return cls(
            event_id=delivery.id,
            target=delivery.target,
            type=delivery.kind,
            source=delivery.source,
            message_id=delivery.message,
            status=delivery.status,
            attempts=delivery.attempts,
            error=delivery.error,
            answer=delivery.answer,
            created_at=delivery.created_at,
            due_at=delivery.due_at,
            last_attempt_at=delivery.last_attempt_at,
            finished_at=delivery.finished_at,
        )


class DeliveryChangeDocument(Document):
    """The events whose deliveries a command has made due, or dropped."""

    events: list[UUID]


class StoppedTargetDocument(Document):
    """A target that gets no more events, and the number of events that waited for it."""

    target: str
    dropped: int

    @classmethod
    def of(cls, stopped: "Stopped") -> Self:
        return cls(target=stopped.target, dropped=stopped.dropped)
