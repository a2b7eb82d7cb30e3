"""Why training runs wait: the database knows the other runs, Redis knows the workers."""

from collections.abc import Sequence
from typing import Final

from triage.domain.ids import RunId
from triage.domain.runs import Run, TrainingQueue, Wait, WaitReason
from triage.domain.states import RunKind
from triage.errors import ServiceUnavailableError
from triage.runs import read_training_queue
from worker.services import Services

_RECENT_SECONDS: Final = 30.0
"""A worker records a heartbeat every five seconds."""


def find_waits(services: Services, found: Sequence[Run]) -> dict[RunId, Wait]:
    """Why those of these runs wait that wait for a training worker. Asks Redis only if no run is trained."""
    if not any(run.is_open and run.kind is RunKind.TRAINING for run in found):
        return {}
    queue = read_training_queue(services.sessions)
    shown = {run.id for run in found} & set(queue.waiting)
    if not shown:
        return {}
    if queue.trained:
        return dict.fromkeys(shown, Wait(WaitReason.BUSY, queue.trained[0]))
    reason = _reason_without_training(services)
    return {run_id: _wait_of(run_id, queue, reason) for run_id in shown}


def _wait_of(run_id: RunId, queue: TrainingQueue, reason: WaitReason) -> Wait:
    if reason is WaitReason.STARTING and run_id != queue.waiting[0]:
        return Wait(WaitReason.EARLIER_RUN, queue.waiting[0])
    return Wait(reason)


def _reason_without_training(services: Services) -> WaitReason:
    from worker.broker.liveness import WorkerState  # deferred: imports redis

    reasons = {
        WorkerState.UP: WaitReason.STARTING,
        WorkerState.STALLED: WaitReason.STALLED_WORKER,
        WorkerState.MISSING: WaitReason.NO_WORKER,
    }
    try:
        return reasons[services.worker_heartbeats.state("training", within_seconds=_RECENT_SECONDS)]
    except ServiceUnavailableError:
        return WaitReason.UNKNOWN
