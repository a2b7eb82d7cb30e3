"""Messages that wait for a person."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import Reason, WaitingState
from triage.storage.base import Base, one_of


class WaitingMessage(Base):
    """A message that waits for a person: its current decision leaves the next step to people, or its request was
    appealed.

    A table of its own: an index on all decisions would keep every message that people have decided in front of the
    first one that waits. A person holds a message until `lease_until`. `claim_form` is the form that claimed it, so
    that the same form twice claims one message. `assigned_to` is the person to whom a colleague has sent it.
    """

    __tablename__ = "waiting_message"
    __table_args__ = (
        one_of("state", WaitingState),
        one_of("reason", Reason),
        CheckConstraint("(claimed_by IS NULL) = (lease_until IS NULL)", name="claim"),
        Index("ix_waiting_message__since", "since", "message_id", info={"query": "queue: the oldest messages"}),
        Index(
            "ix_waiting_message__reason",
            "reason",
            "since",
            "message_id",
            info={"query": "queue: the oldest messages of a reason"},
        ),
        Index(
            "ix_waiting_message__source",
            "source",
            "since",
            "message_id",
            info={"query": "queue: the oldest messages of a source; the sources"},
        ),
        Index(
            "ix_waiting_message__state",
            "state",
            "since",
            "message_id",
            info={"query": "queue: the oldest messages in a state"},
        ),
        Index(
            "ix_waiting_message__model_version_id",
            "model_version_id",
            "since",
            "message_id",
            info={"query": "queue: the oldest messages of a model; the models"},
        ),
        Index(
            "ix_waiting_message__assigned_to",
            "assigned_to",
            "since",
            "message_id",
            postgresql_where=text("assigned_to IS NOT NULL"),
            info={"query": "queue: the oldest messages that were sent to a person"},
        ),
        Index(
            "ix_waiting_message__claim_form",
            "claim_form",
            postgresql_where=text("claim_form IS NOT NULL"),
            info={"query": "queue: the message that a form has claimed"},
        ),
    )

    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"), primary_key=True)
    source: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str]
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))
    since: Mapped[datetime]
    claimed_by: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    claim_form: Mapped[UUID | None]
    assigned_to: Mapped[str | None]
