"""Checks of the workers."""

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from triage.domain.states import Part
from triage.monitoring.health import stalled
from worker.broker.faults import redis_errors
from worker.broker.liveness import Heartbeat
from worker.queues import WORKERS
from worker.services import Services

if TYPE_CHECKING:
    from celery import Celery
from worker.doctor.problems import ProblemError

_STALLED_AFTER: Final = timedelta(minutes=2)
_PING_SECONDS: Final = 2.0


def check_workers(celery: "Celery", *, unused: Collection[str] = ("training", "delivery")) -> str:
    """Asks which workers are there. Kinds that this deployment does not need may be missing."""
    with redis_errors():
        answers = celery.control.ping(timeout=_PING_SECONDS)
    names = {name.partition("@")[0] for answer in answers for name in answer}
    missing = [kind for kind in WORKERS if kind not in names and kind not in unused]
    if missing:
        raise ProblemError(
            f"no {' and no '.join(missing)} worker answers (a busy one may not)",
            "; ".join(f"`triage worker {kind}`" for kind in missing),
        )
    return ", ".join(sorted(names))


def check_progress(services: Services, *, stalled_after: timedelta = _STALLED_AFTER) -> str:
    problems: list[tuple[str, str]] = []
    for kind in WORKERS:
        if problem := services.worker_heartbeats.stalled(kind, stalled_after.total_seconds()):
            problems.append((problem, f"read the log of the {kind} worker and restart it"))
    for heartbeat in Heartbeat:
        if problem := services.liveness.missing(heartbeat, stalled_after.total_seconds()):
            problems.append((problem, f"read the log of {heartbeat} and restart it"))
    for part in Part:
        if problem := stalled(services.sessions, part, stalled_after, lease=services.settings.lease):
            problems.append((problem, f"read the log of the {part} worker and restart it"))
    if problems:
        raise ProblemError("; ".join(problem for problem, _ in problems), problems[0][1])
    return "no part has stalled"
