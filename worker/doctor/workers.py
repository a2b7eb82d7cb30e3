"""Checks of the workers."""

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from worker.broker.faults import redis_errors
from worker.queues import PARTS, WORKERS
from worker.services import Services
from worker.stalls import find_stall

if TYPE_CHECKING:
    from celery import Celery
from worker.doctor.problems import ProblemError

_STALLED_AFTER: Final = timedelta(minutes=2)
_PING_SECONDS: Final = 2.0


def check_workers(celery: "Celery", *, unused: Collection[str] = ("training", "delivery")) -> str:
    """Asks which workers are there. Kinds that this deployment does not need may be missing."""
    names = _answering(celery)
    if missing := [kind for kind in WORKERS if kind not in names and kind not in unused]:
        names |= _answering(celery)  # one that has just started, or is on a busy machine, answers late
        missing = [kind for kind in missing if kind not in names]
    if missing:
        raise ProblemError(
            f"no {' and no '.join(missing)} worker answers (a busy one may not)",
            "; ".join(f"`triage worker {kind}`" for kind in missing),
        )
    return ", ".join(sorted(names))


def _answering(celery: "Celery") -> set[str]:
    with redis_errors():
        answers = celery.control.ping(timeout=_PING_SECONDS)
    return {name.partition("@")[0] for answer in answers for name in answer}


def check_progress(services: Services, *, stalled_after: timedelta = _STALLED_AFTER) -> str:
    found = {part: problem for part in PARTS if (problem := find_stall(services, part, stalled_after))}
    if found:
        raise ProblemError("; ".join(found.values()), f"read the log of {next(iter(found))} and restart it")
    return "no part has stalled"
