"""Messages that other systems hold, to be read there."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import ArrivalError, ArrivalStatus
from triage.storage.base import Base, key, now, one_of

UNREAD_ARRIVAL: Final = text("status = 'pending'")
READ_ARRIVAL: Final = text("status <> 'pending'")
DEAD_ARRIVAL: Final = text("status = 'dead'")


class ArrivalSource(Base):
    """A system that is searched for messages.

    Its messages are known up to the time `known_until`. A searcher sets `lease_token` and moves `due_at` to the end of
    its lease, as a sender does with a delivery. `announced` counts announcements that name no message: one that comes
    during a search makes the next search due when it ends. After a search that `failed`, none makes it due earlier.
    `events` is the number of the last event of its `subscription`.
    """

    __tablename__ = "arrival_source"

    name: Mapped[str] = mapped_column(primary_key=True)
    known_until: Mapped[datetime]
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    announced: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[bool] = mapped_column(server_default="false")
    subscription: Mapped[str | None]
    events: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Arrival(Base):
    """A message that another system holds, to be read there. It has the message's reference there, and no content.

    A reader claims a row by setting `lease_token` and moving `due_at` to the end of its lease. `announced` counts the
    announcements: one that comes while the message is read has it read again. `version` is the one that was read
    or that a search announced.
    """

    __tablename__ = "arrival"
    __table_args__ = (
        UniqueConstraint("source", "reference"),
        one_of("status", ArrivalStatus),
        one_of("error", ArrivalError),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        CheckConstraint("(status = 'dead') = (error IS NOT NULL)", name="dead"),
        Index(
            "ix_arrival__due",
            "source",
            "due_at",
            postgresql_where=UNREAD_ARRIVAL,
            info={"query": "arrivals: claim of messages to read"},
        ),
        Index(
            "ix_arrival__dead",
            "source",
            "id",
            postgresql_where=DEAD_ARRIVAL,
            info={"query": "arrivals: those that cannot be read"},
        ),
        Index(
            "ix_arrival__read",
            "finished_at",
            postgresql_where=READ_ARRIVAL,
            info={"query": "retention: messages that were read long ago"},
        ),
    )

    id: Mapped[UUID] = key()
    source: Mapped[str]
    reference: Mapped[str]
    version: Mapped[str | None]
    announced: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    finished_at: Mapped[datetime | None]
