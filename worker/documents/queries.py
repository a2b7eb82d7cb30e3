"""What the queries of the HTTP interface take after the `?`."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from triage.domain.reporting import ANSWER_DAYS, MAX_ANSWER_DAYS, Dimension
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


class SampleQuery(Call):
    """A period of requests, with zones; 30 days by default. `width`: of the 95 % interval from end to end."""

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    width: Annotated[float, Field(ge=0.01, le=0.9, allow_inf_nan=False)] = 0.1
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class ReportQuery(Call):
    """A period of receipt, with zones; 30 days by default.

    `by`: dimensions of the groups, separated by commas. `answer_days`: days within which a message answers a request.
    `compare_to`: `previous`, or another period as SINCE..UNTIL, in UTC without a zone.
    """

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    answer_days: int = Field(default=ANSWER_DAYS, ge=1, le=MAX_ANSWER_DAYS)
    compare_to: str | None = Field(default=None, max_length=100)
    by: str = Field(default="", pattern=rf"^((?:{_DIMENSION})(?:,(?:{_DIMENSION}))*)?$", max_length=100)
    format: Annotated[str, Field(pattern="^(json|csv|html)$")] = "json"

    def dimensions(self) -> list[Dimension]:
        return [Dimension(name) for name in self.by.split(",") if name]
