"""What a training run tells of itself while it goes on."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import text

from triage.domain.ids import RunId
from triage.domain.states import RunKind
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.checkpoint import Epoch, TrainingState
from triage.training.lease import Heart
from worker.services import Services

LEASE = timedelta(seconds=0.5)


@pytest.mark.parametrize("gets_on", [True, False])
def test_earlier_attempts_count_no_more_once_an_epoch_is_done(services: Services, gets_on: bool) -> None:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, {})
    for _ in range(3):  # two workers died of it
        _expire_leases(services)
        with services.sessions.begin() as session:
            claimed = runs.claim(session, RunKind.TRAINING, lease=LEASE)
    assert claimed is not None
    assert claimed[0].attempts == 3

    with (
        try_lock(services.engine, "a device") as lock,
        Heart(services.sessions, *claimed, LEASE, device=lock, epochs=3) as heart,  # type: ignore[arg-type]  # it is free
    ):
        if gets_on:
            heart.on_epoch(TrainingState({}, {}, "random", epochs=(Epoch(1, 0.5, None, None, 1.0, is_best=True),)))
        for _ in range(2):  # the first may have begun before
            _wait_for_a_beat(services, run.id)

    with services.sessions() as session:
        now = runs.find(session, run.id)
    assert now.attempts == (1 if gets_on else 3)
    assert len(now.progress["epochs"]) == gets_on  # type: ignore[arg-type]  # a list


def _expire_leases(services: Services) -> None:
    with services.sessions.begin() as session:
        session.execute(text("UPDATE run SET lease_until = now() WHERE lease_until IS NOT NULL"))


def _wait_for_a_beat(services: Services, run_id: RunId) -> None:
    with services.sessions() as session:
        begin = session.scalars(text("SELECT clock_timestamp()")).one()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with services.sessions() as session:
            if (beaten_at := runs.find(session, run_id).heartbeat_at) and beaten_at > begin:
                return
        time.sleep(0.05)
    pytest.fail("the heart does not beat")
