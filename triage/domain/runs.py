"""Training and rescoring runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from triage.domain.ids import RunId
from triage.domain.states import RunKind, RunStatus


@dataclass(frozen=True, slots=True)
class Run:
    """A training or rescoring run: a row with a lease and a heartbeat, so that any worker can go on with it."""

    id: RunId
    kind: RunKind
    status: RunStatus
    parameters: Mapping[str, object]
    progress: Mapping[str, object]
    attempts: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
