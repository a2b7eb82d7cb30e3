"""The progress of a training as its user reads it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from tests.support.command_line import Result
from triage.domain.states import RunKind
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.checkpoint import Epoch
from triage.training.lease import TrainingLease
from triage.training.progress import Progress
from worker.services import Services

EPOCH = Epoch(1, 1.5, 1.25, 0.75, 60.0, is_best=True)
READING = Progress("reading photos", photos=30, of_photos=900, photos_per_second=12.0)
FIRST = Progress("training", photos=24, of_photos=600, photos_per_second=2.0, epoch=1, done=24 / 600)
SECOND = Progress("training", photos=300, of_photos=600, photos_per_second=20.0, epoch=2, done=0.5, epochs=[EPOCH])


@pytest.mark.parametrize(
    ("reports", "shown"),
    [
        ([READING], "reading photo 30 of 900, 12 photos/s"),
        # an epoch takes 600 / 2 = 300 s; three are left, of which .04 is done
        ([READING, FIRST], "epoch 1, photo 24 of 600, 2 photos/s, at most 0:14:48 left"),
        # an epoch takes 60 s, with validation; one and a half are left
        ([FIRST, SECOND], "epoch 1: loss 1.5000, validation 1.2500, AUC 0.750, 20 photos/s, at most 0:01:30 left"),
        ([FIRST, SECOND, Progress("evaluating")], "epoch 1: loss 1.5000, validation 1.2500, AUC 0.750"),
    ],
)
def test_runs_show_photos_per_second_and_the_time_left(
    services: Services, triage: Callable[..., Result], reports: Sequence[Progress], shown: str
) -> None:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, {"config": {"epochs": 3}})
        claimed = runs.claim(session, RunKind.TRAINING, lease=timedelta(minutes=1))
    assert claimed is not None
    with try_lock(services.engine, "a device") as lock:
        assert lock is not None
        lease = TrainingLease(services.sessions, *claimed, timedelta(minutes=1), device_lock=lock, max_epochs=3)
        for progress in reports:
            lease.report(progress)
    _store(services, claimed, lease.progress)

    [line] = [line for line in triage("runs", "--json").json if line["id"] == str(run.id)]
    assert line["progress"]["stage"] == reports[-1].stage
    assert " ".join(triage("runs", "--limit", "1").out.split()).endswith(shown)


def _store(services: Services, claimed: Any, progress: Mapping[str, object]) -> None:
    run, token = claimed
    with services.sessions.begin() as session:
        runs.beat(session, run.id, token, lease=timedelta(minutes=1), progress=progress)
