"""Staff of the console, their sessions, and attempts to log in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.staff import Role
from triage.storage.base import Base, key, now, one_of


class Staff(Base):
    """A person who may log in to the console: by a password, of which a hash is stored, or by an identity provider."""

    __tablename__ = "staff"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("issuer", "subject"),
        one_of("role", Role),
        CheckConstraint("(issuer IS NULL) = (subject IS NULL)", name="identity"),
        CheckConstraint("num_nonnulls(password_hash, subject) = 1", name="one_credential"),
    )

    id: Mapped[UUID] = key()
    name: Mapped[str]
    role: Mapped[str]
    password_hash: Mapped[str | None]
    issuer: Mapped[str | None]
    subject: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    disabled_at: Mapped[datetime | None]


class StaffSession(Base):
    """A login, by the hash of its random id.

    Rows outlast their session for some months, because `browser_sha256` shows from which browsers an account has logged
    in before.
    """

    __tablename__ = "staff_session"
    __table_args__ = (
        Index("ix_staff_session__staff_id", "staff_id", info={"query": "staff: the sessions of an account"}),
        Index("ix_staff_session__created_at", "created_at", info={"query": "staff: sessions to delete"}),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    staff_id: Mapped[UUID] = mapped_column(ForeignKey("staff.id"))
    browser_sha256: Mapped[str]
    created_at: Mapped[datetime] = now()
    seen_at: Mapped[datetime] = now()
    ended_at: Mapped[datetime | None]


class LoginAttempt(Base):
    """How often a login to an account failed from one place in a row, by the hash of both."""

    __tablename__ = "login_attempt"
    __table_args__ = (Index("ix_login_attempt__since", "since", info={"query": "staff: attempts that have expired"}),)

    sha256: Mapped[str] = mapped_column(primary_key=True)
    attempts: Mapped[int] = mapped_column(server_default="1")
    since: Mapped[datetime] = now()
