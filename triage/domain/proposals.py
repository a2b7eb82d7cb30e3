"""A simulated change that was saved for a manager."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    Attributes:
        simulation: what `triage.retakes.simulate.simulate` returned.
        applied_at: when it was applied last, and `applied_by` whom; None if it was not.
    """

    id: UUID
    name: str
    saved_at: datetime
    saved_by: str
    simulation: dict[str, Any]
    applied_at: datetime | None = None
    applied_by: str | None = None
