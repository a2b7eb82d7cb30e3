"""Models, and the runs that train them or score with them."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import RunKind, RunStatus, Stage
from triage.storage.base import Base, key, now, one_of

LIVE: Final = text("stage = 'live'")
OPEN_RUN: Final = text("status IN ('pending', 'running')")


class ModelVersion(Base):
    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("weights_sha256"),
        one_of("stage", Stage),
        Index(
            "uq_model_version__live",
            "stage",
            unique=True,
            postgresql_where=LIVE,
            info={"query": "models: the live model, at most one"},
        ),
    )

    id: Mapped[UUID] = key()
    name: Mapped[str]
    version: Mapped[int]
    weights_sha256: Mapped[str]
    card: Mapped[dict[str, Any]]
    stage: Mapped[str]
    created_at: Mapped[datetime] = now()
    promoted_at: Mapped[datetime | None]


class Run(Base):
    """A training or rescoring run. A worker holds its lease and renews it by heartbeats."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("dedupe_key"),
        one_of("kind", RunKind),
        one_of("status", RunStatus),
        Index(
            "ix_run__open",
            "kind",
            "created_at",
            postgresql_where=OPEN_RUN,
            info={"query": "runs: the next run to claim"},
        ),
    )

    id: Mapped[UUID] = key()
    kind: Mapped[str]
    status: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    dedupe_key: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
