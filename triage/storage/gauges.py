"""The state of the database as numbers for monitoring: counts by state, ages and codes, without ids of people.

Past events are counted over the last 24 hours, using the time in a UUIDv7, so every query reads a short range of an
index regardless of the size of the tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from triage.domain.ids import first_id
from triage.domain.states import ArrivalStatus, DeliveryStatus, Part, RetakeStatus, RunKind, RunStatus, Stage
from triage.domain.stored_runs import is_epoch, readable_number
from triage.storage import arrivals, deliveries
from triage.storage.health import count_unread, stalled
from triage.storage.retake_requests import STATUS, WAITING
from triage.storage.tables import (
    FRESH,
    LEASED,
    OPEN_REQUEST,
    OPEN_RUN,
    RETRY,
    Attachment,
    ModelVersion,
    RetakeRequest,
    Run,
    Verdict,
)

_DAY: Final = timedelta(days=1)
_CLOSED: Final = (RetakeStatus.SENT, RetakeStatus.WITHDRAWN)
_SHOWN_RUNS: Final = (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED)


@dataclass(frozen=True, slots=True)
class ModelInUse:
    name: str
    sha256: str
    stage: str


@dataclass(frozen=True, slots=True)
class RunningTraining:
    """A training run that a worker has claimed.

    Attributes:
        run_id: the run.
        model: the name of the model that it trains.
        epoch: the current epoch, from 1; 0 before the first.
        last: the last finished epoch, as in `triage.domain.runs.Run.epochs`.
        photos_per_second: of the current stage.
        heartbeat_age_seconds: time since its worker extended the lease.
    """

    run_id: str
    model: str
    epoch: int
    last: Mapping[str, Any]
    photos_per_second: float | None
    heartbeat_age_seconds: float


@dataclass(frozen=True, slots=True)
class Gauges:
    """
    Attributes:
        pending: pending photos, by `fresh` or `retry`.
        unread: pending photos whose storage did not provide their bytes.
        in_progress: photos under a lease.
        overdue_leases: photos whose lease has expired but was not swept yet.
        oldest_pending_seconds: time since the oldest pending photo became due; 0 if none is pending.
        verdicts_last_day: verdicts by outcome (`acceptable`, `unacceptable`) and origin.
        parked_last_day: photos received in the last day that are not assessable, by error code.
        retakes: open requests by status, and requests flagged in the last day that were sent or withdrawn.
        oldest_waiting_retake_seconds: age of the oldest request that no sender holds; 0 if there is none.
        deliveries: by target and status: waiting and dead events, and those delivered or dropped in the last day.
        oldest_waiting_delivery_seconds: by target, the age of its oldest waiting event; 0 if none waits.
        arrivals: by source and status: messages that wait to be read or are dead.
        oldest_waiting_arrival_seconds: by source, the age of the oldest that waits.
        searched_seconds: by source, the time since its last complete search began.
        runs: open runs by kind and status, and runs that failed in the last day.
        trainings: the training runs that a worker has claimed, also if it has lost them.
        models: the live model and the shadow models.
        stalled: for each part, whether it makes no progress while work waits.
    """

    pending: dict[str, int]
    unread: int
    in_progress: int
    overdue_leases: int
    oldest_pending_seconds: float
    verdicts_last_day: dict[tuple[str, str], int]
    parked_last_day: dict[str, int]
    retakes: dict[str, int]
    oldest_waiting_retake_seconds: float
    deliveries: dict[tuple[str, str], int]
    oldest_waiting_delivery_seconds: dict[str, float]
    arrivals: dict[tuple[str, str], int]
    oldest_waiting_arrival_seconds: dict[str, float]
    searched_seconds: dict[str, float]
    runs: dict[tuple[str, str], int]
    trainings: list[RunningTraining]
    models: list[ModelInUse]
    stalled: dict[str, bool]


def read_gauges(session: Session, *, lease: timedelta, stalled_after: timedelta) -> Gauges:
    """Reads all gauges in the session's transaction.

    Args:
        session: of any role.
        lease: length of the lease on photos.
        stalled_after: time without progress after which a part is stalled.
    """
    now = session.scalars(select(func.clock_timestamp())).one()
    day_ago = now - _DAY
    since = first_id(day_ago)
    count = func.count()
    due = [session.scalar(select(func.min(Attachment.due_at)).where(state)) for state in (FRESH, RETRY)]
    ages = [(now - at).total_seconds() for at in due if at is not None]
    verdicts = session.execute(
        select(Verdict.acceptable, Verdict.origin, count)
        .where(Verdict.created_at > day_ago)
        .group_by(Verdict.acceptable, Verdict.origin)
    )
    parked = session.execute(
        select(Attachment.error_code, count)
        .where(Attachment.id >= since, Attachment.created_at > day_ago, Attachment.error_code.is_not(None))
        .group_by(Attachment.error_code)
    )
    open_requests = select(STATUS, count).where(OPEN_REQUEST).group_by(STATUS)
    waiting_since = session.scalar(select(func.min(RetakeRequest.created_at)).where(OPEN_REQUEST, WAITING))
    closed_requests = (
        select(RetakeRequest.status, count)
        .where(RetakeRequest.created_at > day_ago, RetakeRequest.status.in_(_CLOSED))
        .group_by(RetakeRequest.status)
    )
    open_runs = select(Run.kind, Run.status, count).where(OPEN_RUN).group_by(Run.kind, Run.status)
    failed_runs = (
        select(Run.kind, Run.status, count)
        .where(Run.status == RunStatus.FAILED, Run.finished_at > day_ago)
        .group_by(Run.kind, Run.status)
    )
    targets, counts = deliveries.targets(session), deliveries.count_by_state(session, closed_since=day_ago)
    waiting = arrivals.count_by_state(session)
    models = session.execute(
        select(ModelVersion.name, ModelVersion.weights_sha256, ModelVersion.stage).where(
            ModelVersion.stage.in_([Stage.LIVE, Stage.SHADOW])
        )
    )
    return Gauges(
        pending={
            name: session.scalar(select(count).select_from(Attachment).where(state)) or 0
            for name, state in (("fresh", FRESH), ("retry", RETRY))
        },
        unread=count_unread(session),
        in_progress=session.scalar(select(count).select_from(Attachment).where(LEASED)) or 0,
        overdue_leases=session.scalar(
            select(count).select_from(Attachment).where(LEASED, Attachment.lease_until < func.clock_timestamp())
        )
        or 0,
        oldest_pending_seconds=max([0.0, *ages]),
        verdicts_last_day={
            ("acceptable" if acceptable else "unacceptable", origin): n for acceptable, origin, n in verdicts
        },
        parked_last_day={code: n for code, n in parked if code is not None},
        retakes={status.value: 0 for status in RetakeStatus}
        | {status: n for query in (open_requests, closed_requests) for status, n in session.execute(query)},
        oldest_waiting_retake_seconds=(now - waiting_since).total_seconds() if waiting_since else 0.0,
        deliveries={(target, status.value): 0 for target in targets for status in DeliveryStatus}
        | {(row.target, row.status): row.n for row in counts},
        oldest_waiting_delivery_seconds=dict.fromkeys(targets, 0.0)
        | {row.target: (now - row.oldest).total_seconds() for row in counts if row.status == DeliveryStatus.PENDING},
        arrivals={(row.source, row.status.value): row.n for row in waiting},
        oldest_waiting_arrival_seconds={
            row.source: (now - row.oldest).total_seconds() for row in waiting if row.status is ArrivalStatus.PENDING
        },
        searched_seconds=arrivals.searched_up_to(session),
        runs={(kind.value, status.value): 0 for kind in RunKind for status in _SHOWN_RUNS}
        | {(kind, status): n for query in (open_runs, failed_runs) for kind, status, n in session.execute(query)},
        trainings=_trainings(session, now),
        models=[ModelInUse(name, sha256, stage) for name, sha256, stage in models],
        stalled={part.value: stalled(session, part, stalled_after, lease=lease) is not None for part in Part},
    )


def _trainings(session: Session, now: datetime) -> list[RunningTraining]:
    rows = session.execute(
        select(
            Run.id,
            Run.parameters["name"].astext,
            Run.progress["epoch"],
            Run.progress["epochs"][-1],
            Run.progress["photos_per_second"],
            Run.heartbeat_at,
        ).where(OPEN_RUN, Run.kind == RunKind.TRAINING, Run.status == RunStatus.RUNNING)
    )
    return [
        RunningTraining(
            run_id=str(run_id),
            model=name or "",
            epoch=int(readable_number(epoch) or 0),
            last=last if is_epoch(last) else {},
            photos_per_second=readable_number(photos_per_second),
            heartbeat_age_seconds=(now - heartbeat_at).total_seconds() if heartbeat_at else 0.0,
        )
        for run_id, name, epoch, last, photos_per_second, heartbeat_at in rows
    ]
