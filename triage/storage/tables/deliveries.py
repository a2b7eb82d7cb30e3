"""Events on their way to other systems."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import DeliveryError, DeliveryStatus, EventKind
from triage.storage.base import Base, key, now, one_of

UNDELIVERED: Final = text("status = 'pending'")
DEAD: Final = text("status = 'dead'")
CLOSED_DELIVERY: Final = text("status IN ('delivered', 'dropped')")


class DeliveryTarget(Base):
    """A system that is notified of events. Without a row here, no event is stored.

    `collects` is a source whose retake requests go to this system, so that no message system can claim them.
    """

    __tablename__ = "delivery_target"

    name: Mapped[str] = mapped_column(primary_key=True)
    collects: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class Delivery(Base):
    """An event on its way to one target. It names rows and holds no data of a sender; its id is that of the event.

    A sender claims a row by setting `lease_token` and moving `due_at` to the end of its lease, so a row of a killed
    sender becomes due again without further action. `subject_id` is a decision or a retake request.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        one_of("kind", EventKind),
        one_of("status", DeliveryStatus),
        one_of("error", DeliveryError),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        Index(
            "ix_delivery__due",
            "target",
            "due_at",
            postgresql_where=UNDELIVERED,
            info={"query": "deliveries: claim of events to send"},
        ),
        Index(
            "ix_delivery__dead",
            "target",
            "id",
            postgresql_where=DEAD,
            info={"query": "deliveries: those that a person retries or drops"},
        ),
        Index(
            "ix_delivery__closed",
            "finished_at",
            postgresql_where=CLOSED_DELIVERY,
            info={"query": "retention: delivered and dropped events to delete; metrics of the last day"},
        ),
        Index("ix_delivery__message_id", "message_id", info={"query": "forget, archive: the events of a message"}),
    )

    id: Mapped[UUID] = key()
    target: Mapped[str]
    kind: Mapped[str]
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    subject_id: Mapped[UUID]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    error: Mapped[str | None]
    answer: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = now()
    first_attempt_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
