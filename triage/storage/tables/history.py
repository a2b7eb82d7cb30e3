"""What outlasts the rows: counts of archived ones, and the audit trail."""

from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import ArchivedKind
from triage.storage.base import Base, key, now, one_of

PROPOSAL: Final = text("subject_kind = 'proposal'")


class ArchivedCount(Base):
    """How many rows of one kind, day (UTC) and group were deleted that reports still count. Append-only, without ids.

    `label` is the outcome, status, reason, error code or flip; `bin` is that of scores, an hour, what a person decided,
    or the flags of reviews. `total` is the sum of the scores of a bin, or of the differences between the scores of a
    shadow model and those that decided.
    """

    __tablename__ = "archived_count"
    __table_args__ = (
        one_of("kind", ArchivedKind),
        Index("ix_archived_count__kind", "kind", "day", info={"query": "reports: archived counts since a day"}),
        Index(
            "ix_archived_count__run_id",
            "run_id",
            postgresql_where=text("run_id IS NOT NULL"),
            info={"query": "runs: archived flips of a rescoring"},
        ),
    )

    id: Mapped[UUID] = key()
    kind: Mapped[str]
    day: Mapped[date]
    source: Mapped[str | None]
    role: Mapped[str | None]
    locale: Mapped[str | None]
    fitzpatrick: Mapped[str | None]
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("run.id"))
    label: Mapped[str | None]
    bin: Mapped[int | None] = mapped_column(SmallInteger)
    n: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[float | None]


class AuditEvent(Base):
    """Who did what to which row. Events are append-only; `details` holds ids, codes and counts only.

    A trigger sets the position, the hash of the preceding event and the hash of the event itself.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        UniqueConstraint("position"),
        Index("ix_audit_event__subject_id", "subject_id", info={"query": "explain: audit events of a message"}),
        Index(
            "ix_audit_event__proposal",
            "position",
            postgresql_where=PROPOSAL,
            info={"query": "proposals: what was saved and applied"},
        ),
    )

    id: Mapped[UUID] = key()
    at: Mapped[datetime] = now()
    actor: Mapped[str]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    position: Mapped[int] = mapped_column(BigInteger)
    previous_hash: Mapped[str]
    hash: Mapped[str]


class AuditHead(Base):
    """A single row: the position and hash of the last audit event. It serialises writers and reveals a cut-off tail."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="1")
    position: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]
