"""Use cases for training and rescoring runs: list, find, cancel."""

from triage.domain.ids import RunId
from triage.domain.runs import Run, TrainingQueue
from triage.domain.states import RunKind
from triage.errors import UsageError
from triage.storage import audit
from triage.storage import runs as run_rows
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def list_runs(sessions: Sessions, *, kind: RunKind | None = None, limit: int) -> list[Run]:
    """Returns runs, newest first, optionally of one kind only."""
    with sessions() as session:
        return run_rows.list_runs(session, kind=kind, limit=limit)


@use_case
def find_run(sessions: Sessions, run_id: RunId) -> Run:
    """Returns a run.

    Raises:
        UsageError: no run has this id.
    """
    with sessions() as session:
        return run_rows.find(session, run_id)


@use_case
def read_training_queue(sessions: Sessions) -> TrainingQueue:
    """Returns the open training runs: those that a worker holds, and those that wait for one."""
    with sessions() as session:
        return run_rows.training_queue(session)


@use_case
def cancel_run(sessions: Sessions, run_id: RunId, *, by: str) -> Run:
    """Cancels a run that has not ended. Its worker stops at the next heartbeat.

    Raises:
        UsageError: no run has this id, it has ended already, or `by` is malformed.
    """
    with sessions.begin() as session:
        run = run_rows.find(session, run_id)
        if not run_rows.cancel(session, run.id):
            raise UsageError(f"the run has already ended: it is {run.status.value}")
        audit.record(session, actor=by, action="run.cancelled", subject_kind="run", subject_id=run.id)
    return find_run(sessions, run.id)
