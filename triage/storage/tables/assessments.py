"""Photos that are checked before they are sent."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import false
from sqlalchemy.orm import Mapped, mapped_column

from triage.storage.base import Base, key, now


class Assessment(Base):
    """A photo that is checked before it is sent, for the seconds that somebody waits for the answer.

    The table is not logged: neither the write-ahead log nor a standby gets what is deleted with the answer.
    """

    __tablename__ = "assessment"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # SQLAlchemy's way

    id: Mapped[UUID] = key()
    created_at: Mapped[datetime] = now()
    expires_at: Mapped[datetime]
    is_ready: Mapped[bool] = mapped_column(server_default=false())
    is_taken: Mapped[bool] = mapped_column(server_default=false())
    answer: Mapped[dict[str, Any] | None]
