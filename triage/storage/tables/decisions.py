"""Verdicts on photos, decisions on messages, and the requests that follow."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Sequence,
    SmallInteger,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import DecidedBy, Outcome, Reason, RetakeStatus, ReviewKind, VerdictOrigin
from triage.storage.base import Base, key, now, one_of

NUMBERED: Final = text("position IS NOT NULL")
UNNUMBERED: Final = text("position IS NULL")
OPEN_REQUEST: Final = text("status IN ('flagged', 'claimed')")

DECISION_POSITION: Final = Sequence("decision_position", metadata=Base.metadata)


class Verdict(Base):
    """The verdict of a model on an attachment, written once.

    A trigger rejects every change with two exceptions: a shadow verdict may become one that counts, and archiving the
    thread deletes the row.
    """

    __tablename__ = "verdict"
    __table_args__ = (
        UniqueConstraint("attachment_id", "model_version_id"),
        one_of("origin", VerdictOrigin),
        Index(
            "ix_verdict__created_at", "created_at", info={"query": "reports: scores since a time; health by progress"}
        ),
        Index(
            "ix_verdict__run_id",
            "run_id",
            postgresql_where=text("run_id IS NOT NULL"),
            info={"query": "runs: verdicts of a rescoring"},
        ),
    )

    id: Mapped[UUID] = key()
    attachment_id: Mapped[UUID] = mapped_column(ForeignKey("attachment.id"))
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("run.id"))
    origin: Mapped[str]
    score: Mapped[float]
    threshold: Mapped[float]
    acceptable: Mapped[bool]
    grade: Mapped[int] = mapped_column(SmallInteger)
    cumulative: Mapped[list[float]]
    patch_scores: Mapped[list[float]]
    findings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    width: Mapped[int]
    height: Mapped[int]
    n_frames: Mapped[int] = mapped_column(server_default="1")
    frame: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = now()


class Decision(Base):
    """A decision on a message. Decisions are append-only: a new decision supersedes the previous one.

    `position` is the place in the feed of decisions, given to committed rows. A trigger rejects every other change with
    two exceptions: forgetting the message clears the note, and archiving the thread deletes the row.
    """

    __tablename__ = "decision"
    __table_args__ = (
        UniqueConstraint("supersedes_id"),
        one_of("outcome", Outcome),
        one_of("reason", Reason),
        one_of("decided_by", DecidedBy),
        CheckConstraint("(decided_by = 'person') = (actor IS NOT NULL)", name="actor"),
        Index(
            "uq_decision__first",
            "message_id",
            unique=True,
            postgresql_where=text("supersedes_id IS NULL"),
            info={"query": "decisions: at most one first decision for a message, so one chain"},
        ),
        Index("ix_decision__message_id", "message_id", info={"query": "explain: a message's decisions"}),
        # partial: Postgres would count the column of a complete unique index as part of the key, and lock its rows more
        Index(
            "uq_decision__position",
            "position",
            unique=True,
            postgresql_where=NUMBERED,
            info={"query": "feed: decisions after a cursor"},
        ),
        Index(
            "ix_decision__unnumbered",
            "created_at",
            "id",
            postgresql_where=UNNUMBERED,
            info={"query": "feed: decisions without a position"},
        ),
    )

    id: Mapped[UUID] = key()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    supersedes_id: Mapped[UUID | None] = mapped_column(ForeignKey("decision.id"))
    outcome: Mapped[str]
    reason: Mapped[str]
    decided_by: Mapped[str]
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))
    actor: Mapped[str | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    position: Mapped[int | None] = mapped_column(BigInteger)


class RetakeRequest(Base):
    """The outbox: the message system claims a request under a lease, sends it and acknowledges it.

    A request that is sent is `revocable` if the system that got it takes it back when it is withdrawn.

    `photos` names the photos to take again by the ids of their attachments, with scores and reasons. `reply` is what
    the patient is sent; forgetting the message removes it.
    """

    __tablename__ = "retake_request"
    __table_args__ = (
        UniqueConstraint("decision_id"),
        one_of("status", RetakeStatus),
        CheckConstraint("(status = 'claimed') = (lease_until IS NOT NULL)", name="lease"),
        Index(
            "uq_retake_request__active",
            "message_id",
            unique=True,
            postgresql_where=text("status <> 'withdrawn'"),
            info={"query": "outbox: at most one request for a message"},
        ),
        Index(
            "ix_retake_request__open",
            "created_at",
            postgresql_where=OPEN_REQUEST,
            info={"query": "outbox: claim of unsent requests"},
        ),
        Index("ix_retake_request__message_id", "message_id", info={"query": "explain: a message's requests"}),
        Index("ix_retake_request__thread_id", "thread_id", info={"query": "decisions: a thread's earlier requests"}),
        Index("ix_retake_request__status", "status", "created_at", info={"query": "retakes: the newest of a status"}),
        Index("ix_retake_request__created_at", "created_at", info={"query": "reports: requests since a time"}),
    )

    id: Mapped[UUID] = key()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("thread.id"))
    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decision.id"))
    photos: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    reply: Mapped[dict[str, Any] | None]
    status: Mapped[str]
    claimed_by: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()
    sent_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]
    answered_at: Mapped[datetime | None]
    revocable: Mapped[bool] = mapped_column(server_default=false())


class RequestReview(Base):
    """A person's judgement whether a retake request was needless. A worker adds it and changes nothing.

    An appeal is made by a person who met the request in their work and always says `needless`; a review is of a request
    that a random sample proposed; a ruling answers an appeal. Forgetting the message clears the note, and archiving its
    thread deletes the row.
    """

    __tablename__ = "request_review"
    __table_args__ = (
        UniqueConstraint("request_id", "kind", "actor"),
        one_of("kind", ReviewKind),
        CheckConstraint("kind <> 'appeal' OR needless", name="appeal"),
    )

    id: Mapped[UUID] = key()
    request_id: Mapped[UUID] = mapped_column(ForeignKey("retake_request.id"))
    kind: Mapped[str]
    needless: Mapped[bool]
    actor: Mapped[str]
    note: Mapped[str | None]
    created_at: Mapped[datetime] = now()
