"""Messages that other systems hold, as commands print them."""

from typing import Self
from uuid import UUID

from triage.domain.arrivals import Arrival
from triage.domain.states import ArrivalError, ArrivalStatus
from worker.documents.document import Document, UtcTime


class ArrivalDocument(Document):
    """A message that is read on another system. `due_at` is the time of the next attempt."""

    id: UUID
    source: str
    reference: str
    status: ArrivalStatus
    attempts: int
    error: ArrivalError | None
    created_at: UtcTime
    due_at: UtcTime | None
    finished_at: UtcTime | None

    @classmethod
    def of(cls, arrival: Arrival) -> Self:
        return cls(
            id=arrival.id,
            source=arrival.source,
            reference=arrival.reference,
            status=arrival.status,
            attempts=arrival.attempts,
            error=arrival.error,
            created_at=arrival.created_at,
            due_at=arrival.due_at,
            finished_at=arrival.finished_at,
        )


class ArrivalChangeDocument(Document):
    """The messages that a command has made due, or dropped."""

    arrivals: list[UUID]
