"""Conversations, their messages, and what these refer to elsewhere."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import Fitzpatrick
from triage.storage.base import Base, key, now, one_of


class Thread(Base):
    """A conversation. Its row is the lock under which the messages of the thread are decided one after another.

    `archived_at` is set only in the transaction that archives the thread. It allows deleting the thread's rows.
    """

    __tablename__ = "thread"
    __table_args__ = (UniqueConstraint("source", "external_id"),)

    id: Mapped[UUID] = key()
    source: Mapped[str]
    external_id: Mapped[str]
    archived_at: Mapped[datetime | None]


class OptOut(Base):
    """A thread that has opted out of retake requests: a hash, so that neither archiving nor forgetting ends it."""

    __tablename__ = "opt_out"
    __table_args__ = (UniqueConstraint("thread_sha256"),)

    id: Mapped[UUID] = key()
    thread_sha256: Mapped[str]
    created_at: Mapped[datetime] = now()


class Message(Base):
    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        one_of("fitzpatrick", Fitzpatrick),
        Index("ix_message__received_at", "received_at", info={"query": "reports: messages since a time"}),
        Index("ix_message__thread_id", "thread_id", info={"query": "decisions: a thread's earlier photos"}),
        Index(
            "ix_message__undecided",
            "received_at",
            postgresql_where=text("current_decision_id IS NULL"),
            info={"query": "reports: oldest pending message"},
        ),
        Index(
            "ix_message__external_id",
            "external_id",
            info={"query": "commands: a message by its sender's id without a source"},
        ),
        Index(
            "ix_message__current_decision_id",
            "current_decision_id",
            info={"query": "archive: the message of a decision to delete"},
        ),
        Index(
            "ix_message__forgotten_at",
            "forgotten_at",
            postgresql_where=text("forgotten_at IS NOT NULL"),
            info={"query": "reports: messages forgotten"},
        ),
    )

    id: Mapped[UUID] = key()
    source: Mapped[str]
    external_id: Mapped[str]
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("thread.id"))
    role: Mapped[str]
    locale: Mapped[str]
    opted_out: Mapped[bool]
    fitzpatrick: Mapped[str | None]
    received_at: Mapped[datetime] = now()
    current_decision_id: Mapped[UUID | None] = mapped_column(ForeignKey("decision.id", use_alter=True))
    forgotten_at: Mapped[datetime | None]


class Origin(Base):
    """What a message refers to on the system that it was read from. Deleted when the message is forgotten or old."""

    __tablename__ = "origin"
    __table_args__ = (Index("ix_origin__created_at", "created_at", info={"query": "retention: the oldest references"}),)

    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"), primary_key=True)
    subject: Mapped[str | None]
    author: Mapped[str | None]
    encounter: Mapped[str | None]
    created_at: Mapped[datetime] = now()
