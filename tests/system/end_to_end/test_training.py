"""Training runs of a real worker: completed, killed, cancelled, invalid and waiting."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
import torch
from safetensors.torch import load
from sqlalchemy import text

from tests.support.deployment import Deployment, eventually
from triage.domain.ids import new_id
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.errors import DeviceError, DeviceLostError
from triage.imaging.limits import ImageLimits
from triage.storage import model_versions as models
from triage.storage import runs
from triage.storage.locks import try_lock
from triage.training.run import Trainer, TrainerOptions, device_lock
from triage.training.train import CHECKPOINT

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PATIENT = "Erika-Mustermann"


@pytest.fixture
def start_training(model_folder: Path, jpeg: Callable[..., bytes], tmp_path: Path) -> Callable[..., Run]:
    """Queues a training of the narrow network on six photos."""
    manifest = tmp_path / "manifest.csv"
    votes = [0, 4, 3, 1, 0, 4]
    for seed in range(len(votes)):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
    splits = ["train"] * 4 + ["validation"] * 2
    rows = [f"{seed}.jpg,{vote},{split}" for seed, (vote, split) in enumerate(zip(votes, splits, strict=True))]

    def start(clinic: Deployment, name: str, *, epochs: int, rewrite: bool = True) -> Run:
        if rewrite:
            manifest.write_text("\n".join(["path,votes,split", *rows]), encoding="utf-8")
        config = {"epochs": epochs, "patience": epochs, "batch_photos": 2, "frozen_convolutions": 4}
        parameters = {"manifest": str(manifest), "name": name, "init": str(model_folder), "config": config}
        with clinic.services.sessions.begin() as session:
            run, _ = runs.start(session, RunKind.TRAINING, parameters)
        clinic.services.wake_ups.training()
        return run

    return start


def _find(clinic: Deployment, run: Run) -> Run:
    with clinic.services.sessions() as session:
        return runs.find(session, run.id)


def _ended(clinic: Deployment, run: Run) -> str | None:
    found = _find(clinic, run)
    return found.error or (found.status.value if found.finished_at else None)


def _epochs_of(clinic: Deployment, run: Run) -> int:
    epochs = _find(clinic, run).progress.get("epochs", [])
    assert isinstance(epochs, list)
    return len(epochs)


def test_training_run_becomes_a_candidate_while_photos_are_scored(
    deploy: Deploy, start_training: Callable[..., Run], jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    with deploy("scoring", "training") as clinic:
        run = start_training(clinic, "of-this-clinic", epochs=1)
        clinic.send("m-1", jpeg(9))

        assert eventually(lambda: clinic.outcome("m-1")) == "retake"
        assert eventually(lambda: _ended(clinic, run)) == "done"
        assert clinic.query("SELECT name, stage FROM model_version ORDER BY id") == [
            ("strict", "live"),
            ("of-this-clinic", "candidate"),
        ]
        # photos and checkpoint are deleted soon after the end
        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))


def test_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    deploy: Deploy, start_training: Callable[..., Run]
) -> None:
    with deploy("training", "intake", TRAINING__THREADS="1") as clinic:
        undisturbed = start_training(clinic, "undisturbed", epochs=60)
        assert eventually(lambda: _ended(clinic, undisturbed)) == "done"

        run = start_training(clinic, "killed", epochs=60)
        eventually(lambda: 1 <= _epochs_of(clinic, run) < 60)
        child = clinic.child("training")
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)

        assert eventually(lambda: _ended(clinic, run)) == "done"
        second_child = clinic.child("training")
        assert second_child is not None
        assert second_child.pid != child.pid
        with clinic.services.sessions() as session:
            cards = [models.find(session, name).card for name in ("undisturbed", "killed")]
        first, second = (load(clinic.services.registry.weights(card)) for card in cards)
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert cards[0].threshold == cards[1].threshold


def test_cancelled_training_stops_and_leaves_no_files(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path
) -> None:
    with deploy("training") as clinic:
        run = start_training(clinic, "cancelled", epochs=100_000)
        eventually(lambda: _epochs_of(clinic, run))
        with clinic.services.sessions.begin() as session:
            assert runs.cancel(session, run.id)

        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))
        assert _find(clinic, run).status is RunStatus.CANCELLED
        assert clinic.query("SELECT name FROM model_version") == [("strict",)]
        following = start_training(clinic, "following", epochs=1)
        assert eventually(lambda: _ended(clinic, following)) == "done"


def test_each_photo_and_batch_of_a_training_is_progress_of_its_worker(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, batches_of_an_epoch, epochs = 6, 2 + 1, 2  # of training and of validation
    signs: list[None] = []
    freed: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(len(signs)))
    options = TrainerOptions(
        tmp_path / "runs", timedelta(seconds=60), 1, ImageLimits(), "cpu", threads=1, decode_threads=2
    )
    with deploy() as clinic:
        run = start_training(clinic, "watched", epochs=epochs)
        services = clinic.services
        trainer = Trainer(
            services.engine,
            services.sessions,
            services.registry,
            options,
            source=services.source,
            on_progress=lambda: signs.append(None),
        )

        assert trainer.train_next()
        assert _ended(clinic, run) == "done"

    assert len(signs) >= photos + batches_of_an_epoch * epochs
    assert freed == [len(signs)]  # at the end, for a scorer on the same card


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), DeviceLostError),
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceError),
    ],
    ids=str,
)
def test_run_stays_open_with_its_checkpoint_when_the_card_fails(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path, error: Exception, raised: type[Exception]
) -> None:
    options = TrainerOptions(
        tmp_path / "runs", timedelta(seconds=60), 1, ImageLimits(), "cpu", threads=1, decode_threads=1
    )
    with deploy() as clinic:
        run = start_training(clinic, "resumed", epochs=3)
        services = clinic.services

        def fail_in_the_second_epoch() -> None:
            if list((tmp_path / "runs").rglob(CHECKPOINT)):
                raise error

        with pytest.raises(raised) as caught:
            Trainer(
                services.engine,
                services.sessions,
                services.registry,
                options,
                source=services.source,
                on_progress=fail_in_the_second_epoch,
            ).train_next()

        assert type(caught.value) is raised
        assert (_find(clinic, run).status, _find(clinic, run).error) == (RunStatus.RUNNING, None)
        assert len(list((tmp_path / "runs").rglob(CHECKPOINT))) == 1
        with services.sessions.begin() as session:
            session.execute(text("UPDATE run SET lease_until = now()"))

        trainer = Trainer(
            services.engine,
            services.sessions,
            services.registry,
            replace(options, max_attempts=2),
            source=services.source,
        )
        assert trainer.train_next()
        assert _ended(clinic, run) == "done"
        assert _epochs_of(clinic, run) == 3


def test_invalid_run_fails_with_one_line_and_leaves_no_files(
    deploy: Deploy, start_training: Callable[..., Run], tmp_path: Path
) -> None:
    left = tmp_path / "runs" / str(new_id())  # of a run that ended while its worker was dead
    left.mkdir(parents=True)
    (left / "train.photos").write_bytes(b"a photo")
    with deploy("training") as clinic:
        misnamed = start_training(clinic, "not a name", epochs=1)
        assert "invalid training parameters: name" in str(eventually(lambda: _ended(clinic, misnamed)))
        (tmp_path / "manifest.csv").write_text(f"path,votes\n{PATIENT}.jpg,1\n", encoding="utf-8")
        broken = start_training(clinic, "broken", epochs=1, rewrite=False)
        error = str(eventually(lambda: _ended(clinic, broken)))

        assert "the manifest is invalid" in error
        assert PATIENT not in error
        assert _find(clinic, broken).status is RunStatus.FAILED
        assert eventually(lambda: not list((tmp_path / "runs").iterdir()))


def test_runs_wait_while_another_process_trains_on_the_device(
    deploy: Deploy, start_training: Callable[..., Run]
) -> None:
    with deploy("training", "intake") as clinic:
        with try_lock(clinic.services.engine, device_lock(torch.device("cpu"))) as lock:
            assert lock is not None
            run = start_training(clinic, "second", epochs=1)
            assert eventually(lambda: b"training.postponed" in clinic.log("training").read_bytes())
            assert _find(clinic, run).status is RunStatus.PENDING

        assert eventually(lambda: _ended(clinic, run)) == "done"
