"""The progress of a training as its user reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.command_line import Result
from triage.domain.states import RunKind
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.checkpoint import Epoch
from triage.training.lease import TrainingLease
from triage.training.progress import Progress
from worker.services import Services

EPOCH = Epoch(1, 1.5, 1.25, 0.75, 0.001, 10.0, 60.0, is_best=True)
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


def test_run_is_shown_with_its_epochs(services: Services, triage: Callable[..., Result], tmp_path: Path) -> None:
    epochs = [EPOCH, replace(EPOCH, number=2, train_loss=0.5, validation_auc=None, is_best=False)]
    with services.sessions.begin() as session:
        runs.start(session, RunKind.TRAINING, {"name": "ours", "config": {"epochs": 3}})
        claimed = runs.claim(session, RunKind.TRAINING, lease=timedelta(minutes=1))
    assert claimed is not None
    _store(services, claimed, {"stage": "training", "epochs": list(map(asdict, epochs))})
    run_id = str(claimed[0].id)

    shown = triage("runs", "show", run_id).out
    page = tmp_path / "run.html"
    [listed] = triage("runs", "--json").json
    assert triage("runs", "show", run_id, "--json", "--html", str(page)).json == listed

    assert f"training run {run_id}: running" in shown
    assert "training loss   1.5000 █▁ 0.5000" in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["1", "1.5000", "1.2500", "0.750", "0.001", "10", "60.0", "*"],
        ["2", "0.5000", "1.2500", "-", "0.001", "10", "60.0"],
    ]
    assert [epoch["number"] for epoch in listed["progress"]["epochs"]] == [1, 2]
    assert page.read_text().count("<svg") == 2


def test_page_of_a_rescoring_is_refused(services: Services, triage: Callable[..., Result], tmp_path: Path) -> None:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.RESCORING, {})

    assert f"rescoring run {run.id}: pending" in triage("runs", "show", str(run.id)).out
    refused = triage("runs", "show", str(run.id), "--html", str(tmp_path / "run.html"))

    assert refused.code == 2
    assert "--html needs a training run" in refused.err
    assert list(tmp_path.glob("*.html")) == []


def test_list_of_runs_may_be_named(services: Services, triage: Callable[..., Result]) -> None:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, {"config": {"epochs": 3}})

    assert triage("runs", "list", "--limit", "1").out == triage("runs", "--limit", "1").out
    assert str(run.id) in triage("runs").out
    assert f"run {run.id}: cancelled" in triage("runs", "--cancel", str(run.id)).out
    assert triage("runs", "nothing").code == 2


def test_waiting_run_says_why(services: Services, triage: Callable[..., Result]) -> None:
    first, second = (_queue(services) for _ in range(2))

    assert "waits: no training worker runs, or it is paused; start one with" in _progress_of(triage, first)
    services.worker_heartbeats.record("training")
    assert "waits: a training worker runs and will start it soon" in _progress_of(triage, first)
    assert f"waits: run {first} comes first" in _progress_of(triage, second)
    assert triage("runs", "show", second, "--json").json["wait"] == {"reason": "earlier_run", "run": first}
    services.redis.pexpire(f"{services.settings.redis.key_prefix}worker:training", 86_400_000 - 60_000)
    services.worker_heartbeats.mark_waiting("training")
    assert "waits: the training worker makes no progress" in _progress_of(triage, first)

    _claim(services)
    assert f"waits: the training worker is busy with run {first}" in _progress_of(triage, second)
    assert "wait" not in triage("runs", "show", first, "--json").json
    with services.sessions.begin() as session:
        session.execute(text("UPDATE run SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL"))
    assert "its worker was lost; waits: " in _progress_of(triage, first)

    assert triage("runs", "--cancel", first).code == triage("runs", "--cancel", second).code == 0
    assert "waits" not in triage("runs").out


def test_waiting_run_is_shown_when_redis_does_not_respond(
    services: Services, triage: Callable[..., Result], environment: Callable[[str, str], None]
) -> None:
    run = _queue(services)
    environment("REDIS__URL", "redis://127.0.0.1:1/0")

    assert "waits: Redis does not say whether a training worker runs" in _progress_of(triage, run)


def _queue(services: Services) -> str:
    with services.sessions.begin() as session:
        run, _ = runs.start(session, RunKind.TRAINING, {"config": {"epochs": 3}})
    return str(run.id)


def _claim(services: Services) -> None:
    with services.sessions.begin() as session:
        assert runs.claim(session, RunKind.TRAINING, lease=timedelta(minutes=1)) is not None


def _progress_of(triage: Callable[..., Result], run_id: str) -> str:
    [line] = [line for line in triage("runs").out.splitlines() if line.startswith(run_id)]
    return " ".join(line.split())


def _store(services: Services, claimed: Any, progress: Mapping[str, object]) -> None:
    run, token = claimed
    with services.sessions.begin() as session:
        runs.beat(session, run.id, token, lease=timedelta(minutes=1), progress=progress)
