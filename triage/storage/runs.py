"""Training and rescoring runs: rows that a worker claims under a lease and renews by heartbeats."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, defer

from triage.domain.ids import LeaseToken, RunId, new_id
from triage.domain.runs import Run, TrainingQueue
from triage.domain.states import RunKind, RunStatus
from triage.domain.stored_runs import readable_parameters, readable_progress
from triage.errors import LeaseLostError, UsageError
from triage.storage import tables
from triage.storage.tables import OPEN_RUN

_SHOWN = select(tables.Run).options(defer(tables.Run.lease_token, raiseload=True))
"""Runs without the columns that read-only roles may not select."""

_UNHELD = or_(tables.Run.lease_until.is_(None), tables.Run.lease_until < func.clock_timestamp())


def start(
    session: Session, kind: RunKind, parameters: Mapping[str, object], *, dedupe_key: str | None = None
) -> tuple[Run, bool]:
    """Creates a pending run, or returns the run with the same dedupe key.

    Returns:
        The run, and whether it is new.
    """
    created = session.scalars(
        insert(tables.Run)
        .values(id=new_id(), kind=kind, status=RunStatus.PENDING, parameters=dict(parameters), dedupe_key=dedupe_key)
        .on_conflict_do_nothing(index_elements=[tables.Run.dedupe_key])
        .returning(tables.Run)
    ).one_or_none()
    if created is not None:
        return _run(created), True
    return _run(session.scalars(select(tables.Run).where(tables.Run.dedupe_key == dedupe_key)).one()), False


def claim(session: Session, kind: RunKind, *, lease: timedelta) -> tuple[Run, LeaseToken] | None:
    """Claims the oldest run that is pending or whose lease expired, and counts the attempt."""
    next_ = (
        select(tables.Run.id)
        .where(OPEN_RUN, _UNHELD, tables.Run.kind == kind)
        .order_by(tables.Run.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("next")
    )
    token = LeaseToken(new_id())
    row = session.scalars(
        update(tables.Run)
        .where(tables.Run.id == next_.c.id)
        .values(
            status=RunStatus.RUNNING,
            attempts=tables.Run.attempts + 1,
            lease_token=token,
            lease_until=func.clock_timestamp() + lease,
            heartbeat_at=func.clock_timestamp(),
            started_at=func.coalesce(tables.Run.started_at, func.clock_timestamp()),
        )
        .returning(tables.Run),
        execution_options={"synchronize_session": False},
    ).one_or_none()
    return None if row is None else (_run(row), token)


def beat(
    session: Session,
    run_id: RunId,
    token: LeaseToken,
    *,
    lease: timedelta,
    progress: Mapping[str, object],
    made_progress: bool = False,
) -> None:
    """Records a heartbeat: renews the lease and stores the progress.

    Args:
        session: of the caller's transaction.
        run_id: the run.
        token: token of the caller's lease.
        lease: length of the renewed lease.
        progress: replaces the stored progress.
        made_progress: this attempt has advanced the run, so earlier attempts no longer count.

    Raises:
        LeaseLostError: another worker holds the run, or it was cancelled.
    """
    _update_held(
        session,
        run_id,
        token,
        progress=dict(progress),
        heartbeat_at=func.clock_timestamp(),
        lease_until=func.clock_timestamp() + lease,
        **({"attempts": 1} if made_progress else {}),
    )


def finish(
    session: Session,
    run_id: RunId,
    token: LeaseToken,
    status: RunStatus,
    *,
    progress: Mapping[str, object] | None = None,
    error: str | None = None,
) -> None:
    """Ends a run.

    Args:
        session: of the caller's transaction.
        run_id: the run.
        token: token of the caller's lease.
        status: how it ended.
        progress: replaces the stored progress; None keeps it.
        error: what went wrong, if it failed.

    Raises:
        LeaseLostError: another worker holds the run, or it was cancelled.
    """
    _update_held(
        session,
        run_id,
        token,
        status=status,
        error=error,
        **({} if progress is None else {"progress": dict(progress)}),
        finished_at=func.clock_timestamp(),
        lease_token=null(),
        lease_until=null(),
    )


def lock_oldest(session: Session, kind: RunKind) -> Run | None:
    """Locks the oldest open run of a shared kind until the transaction ends and returns it, or None."""
    row = session.scalars(
        select(tables.Run)
        .where(OPEN_RUN, tables.Run.kind == kind)
        .order_by(tables.Run.created_at)
        .limit(1)
        .with_for_update(key_share=True)
    ).one_or_none()
    return None if row is None else _run(row)


def lock(session: Session, run_id: RunId) -> Run:
    """Locks a run until the transaction ends and returns it.

    The lock (`FOR NO KEY UPDATE`) does not conflict with the key locks of inserted verdicts, which refer to the run.
    Otherwise two workers that have both written verdicts would deadlock.
    """
    query = select(tables.Run).where(tables.Run.id == run_id).with_for_update(key_share=True)
    return _run(session.scalars(query.execution_options(populate_existing=True)).one())


def beat_shared(session: Session, run_id: RunId, *, lease: timedelta, progress: Mapping[str, object]) -> None:
    """Records a heartbeat of a shared run, whose lock the caller holds."""
    session.execute(
        update(tables.Run)
        .where(tables.Run.id == run_id)
        .values(
            status=RunStatus.RUNNING,
            progress=dict(progress),
            heartbeat_at=func.clock_timestamp(),
            lease_until=func.clock_timestamp() + lease,
            started_at=func.coalesce(tables.Run.started_at, func.clock_timestamp()),
        )
    )


def note(session: Session, run_id: RunId, progress: Mapping[str, object]) -> Run:
    """Stores the progress of a run that no worker has claimed yet."""
    row = session.scalars(
        update(tables.Run).where(tables.Run.id == run_id).values(progress=dict(progress)).returning(tables.Run),
        execution_options={"populate_existing": True},
    ).one()
    return _run(row)


def end(session: Session, run_id: RunId, status: RunStatus, *, error: str | None = None) -> None:
    """Ends a shared run, unless it has ended already."""
    session.execute(
        update(tables.Run)
        .where(OPEN_RUN, tables.Run.id == run_id)
        .values(status=status, error=error, finished_at=func.clock_timestamp(), lease_until=null())
    )


def cancel(session: Session, run_id: RunId) -> bool:
    """Cancels a run and returns True, unless it has ended. Its worker stops at its next heartbeat."""
    rows = session.scalars(
        update(tables.Run)
        .where(OPEN_RUN, tables.Run.id == run_id)
        .values(status=RunStatus.CANCELLED, finished_at=func.clock_timestamp(), lease_token=null(), lease_until=null())
        .returning(tables.Run.id)
    ).all()
    return bool(rows)


def find(session: Session, run_id: UUID) -> Run:
    """Returns a run.

    Raises:
        UsageError: no run has this id.
    """
    row = session.scalars(_SHOWN.where(tables.Run.id == run_id)).one_or_none()
    if row is None:
        raise UsageError("unknown run id: list the runs and choose one")
    return _run(row)


def list_runs(session: Session, *, kind: RunKind | None = None, limit: int = 20) -> list[Run]:
    """Runs, newest first."""
    query = _SHOWN.order_by(tables.Run.id.desc()).limit(limit)
    return [_run(row) for row in session.scalars(query if kind is None else query.where(tables.Run.kind == kind))]


def is_training_named(session: Session, name: str, *, except_for: RunId | None = None) -> bool:
    """Whether an open training run will produce a model of this name."""
    query = select(tables.Run.id).where(
        OPEN_RUN, tables.Run.kind == RunKind.TRAINING, tables.Run.parameters["name"].astext == name
    )
    if except_for is not None:
        query = query.where(tables.Run.id != except_for)
    return session.scalar(query.limit(1)) is not None


def training_queue(session: Session) -> TrainingQueue:
    """The open training runs, by the clock of the database."""
    rows = session.execute(
        select(tables.Run.id, _UNHELD)
        .where(OPEN_RUN, tables.Run.kind == RunKind.TRAINING)
        .order_by(tables.Run.created_at, tables.Run.id)
    ).all()
    return TrainingQueue(
        trained=tuple(RunId(run_id) for run_id, is_unheld in rows if not is_unheld),
        waiting=tuple(RunId(run_id) for run_id, is_unheld in rows if is_unheld),
    )


def is_open(session: Session, kind: RunKind) -> bool:
    """Whether a run of this kind is pending or running."""
    return session.scalar(select(tables.Run.id).where(OPEN_RUN, tables.Run.kind == kind).limit(1)) is not None


def is_held(session: Session, run_id: RunId) -> bool:
    """Whether a worker holds an unexpired lease on the run, by the clock of the database."""
    query = select(tables.Run.id).where(tables.Run.id == run_id, tables.Run.lease_until > func.clock_timestamp())
    return session.scalar(query) is not None


def tonight(session: Session) -> date:
    """The date in UTC, by the clock of the database, that identifies a nightly run."""
    night: date = session.scalars(select(func.date(func.timezone("UTC", func.clock_timestamp())))).one()
    return night


def is_claimable(session: Session, kind: RunKind) -> bool:
    """Whether a run of this kind is pending or its lease expired."""
    query = select(tables.Run.id).where(OPEN_RUN, _UNHELD, tables.Run.kind == kind).limit(1)
    return session.scalar(query) is not None


def _update_held(session: Session, run_id: RunId, token: LeaseToken, **values: Any) -> None:
    rows = session.scalars(
        update(tables.Run)
        .where(tables.Run.id == run_id, tables.Run.lease_token == token)
        .values(**values)
        .returning(tables.Run.id),
        execution_options={"synchronize_session": False},
    ).all()
    if not rows:
        raise LeaseLostError("the run was cancelled, or another worker holds it: this worker stops")


def _run(row: tables.Run) -> Run:
    return Run(
        id=RunId(row.id),
        kind=RunKind(row.kind),
        status=RunStatus(row.status),
        parameters=readable_parameters(row.parameters),
        progress=readable_progress(RunKind(row.kind), row.progress),
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        finished_at=row.finished_at,
    )
