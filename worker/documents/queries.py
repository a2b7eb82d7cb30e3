"""What the queries of the HTTP interface take after the `?`."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from triage.domain.reporting import Dimension
from triage.domain.states import RetakeStatus
from worker.documents.document import Call

MAX_WAIT_SECONDS: Final = 60
_DIMENSION: Final = "|".join(Dimension)


class StateQuery(Call):
    """`wait`: seconds to wait for the decision on the message."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)] = 0


class RetakesQuery(Call):
    """Retake requests, newest first, optionally of one status only."""

    status: RetakeStatus | None = None
    limit: int = Field(default=100, ge=1, le=1000)


class ReportQuery(Call):
    """A period of receipt, with zones; 30 days by default. `by`: dimensions of the groups, separated by commas."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    by: str = Field(default="", pattern=rf"^((?:{_DIMENSION})(?:,(?:{_DIMENSION}))*)?$", max_length=100)
    format: Annotated[str, Field(pattern="^(json|csv|html)$")] = "json"

    def dimensions(self) -> list[Dimension]:
        return [Dimension(name) for name in self.by.split(",") if name]
