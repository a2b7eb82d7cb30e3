"""The lease and the stored progress of a training run."""

import time
from dataclasses import asdict
from datetime import timedelta

import pytest
from sqlalchemy import text

from tests.support.deployment import eventually
from triage.domain.ids import LeaseToken, RunId
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.errors import LeaseLostError
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.checkpoint import Epoch
from triage.training.lease import TrainingLease
from triage.training.progress import Progress
from worker.services import Services

LEASE = timedelta(seconds=0.5)
EPOCH = Epoch(1, 0.5, None, None, 0.01, 8.0, 1.0, is_best=True)


@pytest.mark.parametrize("finishes_epoch", [True, False])
def test_attempts_restart_at_one_when_an_epoch_is_finished(services: Services, finishes_epoch: bool) -> None:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, {})
    for _ in range(3):  # two workers died
        _expire_leases(services)
        with services.sessions.begin() as session:
            claimed = runs.claim(session, RunKind.TRAINING, lease=LEASE)
    assert claimed is not None
    assert claimed[0].attempts == 3

    with (
        try_lock(services.engine, "a device") as lock,
        TrainingLease(services.sessions, *claimed, LEASE, device_lock=lock, max_epochs=3) as lease,  # type: ignore[arg-type]  # it is free
    ):
        if finishes_epoch:
            lease.report(Progress("training", epochs=[EPOCH]))
        for _ in range(2):  # the first may have started before the report
            _wait_for_heartbeat(services, run.id)

    with services.sessions() as session:
        now = runs.find(session, run.id)
    assert now.attempts == (1 if finishes_epoch else 3)
    assert len(now.progress["epochs"]) == finishes_epoch  # type: ignore[arg-type]  # a list


def test_epoch_is_stored_before_the_lease_needs_to_be_extended(services: Services) -> None:
    run, token = _claim(services)
    with (
        try_lock(services.engine, "a device") as lock,
        TrainingLease(services.sessions, run, token, timedelta(hours=1), device_lock=lock, max_epochs=3) as lease,  # type: ignore[arg-type]  # it is free
    ):
        lease.report(Progress("training", epochs=[EPOCH]))

        assert eventually(lambda: _stored(services, run.id)) == [asdict(EPOCH)]


def test_worker_that_lost_the_lease_stores_no_epoch(services: Services) -> None:
    run, token = _claim(services)
    _expire_leases(services)
    _claim(services)  # another worker
    with (
        try_lock(services.engine, "a device") as lock,
        TrainingLease(services.sessions, run, token, timedelta(hours=1), device_lock=lock, max_epochs=3) as lease,  # type: ignore[arg-type]  # it is free
    ):
        lease.report(Progress("training", epochs=[EPOCH]))  # nothing is known of the other worker yet

        eventually(lambda: _is_lost(lease))
        with pytest.raises(LeaseLostError):
            lease.finish(RunStatus.DONE)
        assert _stored(services, run.id) == []


def test_failed_run_keeps_its_epochs(services: Services) -> None:
    with services.sessions.begin() as session:
        runs.start(session, RunKind.TRAINING, {})
        claimed = runs.claim(session, RunKind.TRAINING, lease=LEASE)
        assert claimed is not None
        run, token = claimed
        runs.beat(session, run.id, token, lease=LEASE, progress={"epochs": [asdict(EPOCH)]})
        runs.finish(session, run.id, token, RunStatus.FAILED, error="a bug")

    assert _stored(services, run.id) == [asdict(EPOCH)]


def _claim(services: Services) -> tuple[Run, LeaseToken]:
    with services.sessions.begin() as session:
        if not runs.is_open(session, RunKind.TRAINING):
            runs.start(session, RunKind.TRAINING, {})
        claimed = runs.claim(session, RunKind.TRAINING, lease=timedelta(hours=1))
    assert claimed is not None
    return claimed


def _is_lost(lease: TrainingLease) -> bool:
    try:
        lease.check()
    except LeaseLostError:
        return True
    return False


def _stored(services: Services, run_id: RunId) -> object:
    with services.sessions() as session:
        return runs.find(session, run_id).progress.get("epochs", [])


def _expire_leases(services: Services) -> None:
    with services.sessions.begin() as session:
        session.execute(text("UPDATE run SET lease_until = now() WHERE lease_until IS NOT NULL"))


def _wait_for_heartbeat(services: Services, run_id: RunId) -> None:
    with services.sessions() as session:
        begin = session.scalars(text("SELECT clock_timestamp()")).one()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with services.sessions() as session:
            if (heartbeat_at := runs.find(session, run_id).heartbeat_at) and heartbeat_at > begin:
                return
        time.sleep(0.05)
    pytest.fail("no heartbeat")
