"""Runs a check and states its result."""

from collections.abc import Callable

from triage.domain.checks import Check
from triage.errors import ServiceRefusedError, ServiceUnavailableError, TablesOutdatedError, TriageError
from triage.storage.database import database_errors
from worker.hints import with_hint


class ProblemError(TriageError):
    """A problem that a check found, with its remedy."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


def run_check(name: str, check: Callable[[], str]) -> Check:
    """Runs a check that returns the state in one line, and turns its errors into a result."""
    try:
        with database_errors():
            return Check(name, ok=True, detail=check())
    except ProblemError as problem:
        return Check(name, ok=False, detail=str(problem), remedy=problem.remedy)
    except TriageError as error:
        detail, _, remedy = with_hint(error).partition(": ")
        refused = isinstance(error, ServiceRefusedError)
        outage = isinstance(error, ServiceUnavailableError) and not isinstance(error, TablesOutdatedError)
        return Check(name, ok=False, detail=detail, remedy=remedy, unreachable=outage and not refused, refused=refused)
