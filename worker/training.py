"""A training run from row to candidate model: lock the device, claim, train with heartbeats, register."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import structlog
import torch
from pydantic import ValidationError

from triage.domain import LeaseToken, Run, RunId, RunKind, RunStatus
from triage.errors import LeaseLostError, ServiceUnavailableError, TriageError, UsageError
from triage.quality.artifact import write_artifact
from triage.quality.scorer import choose_device
from triage.storage import runs
from triage.storage.engine import database_errors
from triage.storage.locks import held_lock
from triage.storage.models import RegisteredModel
from triage.training.checkpoint import TrainingState
from triage.training.config import TrainingConfig
from triage.training.manifest import read_manifest
from triage.training.model import TrainedModel, train_model
from triage.training.splits import split_photos
from worker.bootstrap import Services

log = structlog.get_logger(__name__)

_BEAT_SECONDS: Final = 2.0


def train_next(services: Services) -> bool:
    """Trains the next run that waits or has lost its worker. False where there is none, or the device is taken."""
    settings = services.settings.training
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    lease = timedelta(seconds=settings.lease_seconds)
    with held_lock(services.engine, device_lock(device)) as free:
        if not free:
            log.info("training.postponed", device=str(device))
            return False
        with services.sessions.begin() as session:
            claimed = runs.claim(session, RunKind.TRAINING, lease=lease)
        if claimed is None:
            return False
        _train_run(services, *claimed, device=device, lease=lease)
    return True


def device_lock(device: torch.device) -> str:
    """The name of the lock under which a device trains; containers that share a card share its name."""
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_properties(device).uuid}"
    return f"training on {device} of {socket.gethostname()}"


def run_folder(services: Services, run_id: RunId) -> Path:
    """Where a run keeps its checkpoint and its decoded photos until it ends."""
    return services.settings.training_folder / str(run_id)


class Heart:
    """Keeps a run's lease alive from a thread of its own, and tells how far the run is.

    The training hears of a lease that was lost at its next batch, and ends.
    """

    def __init__(self, services: Services, run: Run, token: LeaseToken, lease: timedelta, *, epochs: int) -> None:
        self.progress: dict[str, Any] = {"stage": "starting", "epoch": 0, "done": 0.0, "epochs": []} | dict(
            run.progress
        )
        self._services = services
        self._run = run
        self._token = token
        self._lease = lease
        self._max_epochs = epochs
        self._stop = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._keep_beating, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run, or it was cancelled.
        """
        if self._lost is not None:
            raise self._lost

    def on_photos(self, done: int, total: int) -> None:
        self._tell(stage="reading photos", photos=done, of_photos=total)

    def on_batch(self, epoch: int, share: float) -> None:
        self._tell(stage="training", epoch=epoch, done=share, seconds_left=self._seconds_left(share))

    def on_epoch(self, state: TrainingState) -> None:
        self._tell(epochs=[asdict(epoch) for epoch in state.epochs])

    def on_evaluation(self) -> None:
        self._tell(stage="evaluating", seconds_left=None)

    def finish(self, status: RunStatus, *, error: str | None = None, **progress: object) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run, or it was cancelled.
        """
        with self._services.sessions.begin() as session:
            runs.finish(session, self._run.id, self._token, status, progress=self.progress | progress, error=error)

    def _tell(self, **progress: object) -> None:
        self.check()
        self.progress = self.progress | progress  # a new one each time: the other thread may be reading the old one

    def _keep_beating(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            try:
                with database_errors(), self._services.sessions.begin() as session:
                    runs.beat(session, self._run.id, self._token, lease=self._lease, progress=self.progress)
            except LeaseLostError as error:
                self._lost = error
                return
            except ServiceUnavailableError as error:  # the lease may last until Postgres is back
                log.warning("postgres.unavailable", error_type=type(error).__name__)

    def _seconds_left(self, share: float) -> float | None:
        """At most: early stopping may end the training sooner. None before the first epoch is done."""
        epochs: list[Mapping[str, Any]] = self.progress["epochs"]
        if not epochs:
            return None
        seconds = sum(float(epoch["seconds"]) for epoch in epochs) / len(epochs)
        return seconds * (self._max_epochs - len(epochs) - share)


def _train_run(services: Services, run: Run, token: LeaseToken, *, device: torch.device, lease: timedelta) -> None:
    folder = run_folder(services, run.id)
    log.info("training.started", run_id=str(run.id), device=str(device))
    try:
        config = _config(run.parameters["config"])
        with Heart(services, run, token, lease, epochs=config.epochs) as heart:
            trained = _make_model(services, run, config, folder=folder, device=device, observer=heart)
            heart.check()
            model = _register(services, trained)
            heart.finish(
                RunStatus.DONE,
                stage="done",
                seconds_left=0,
                model=model.card.name,
                weights_sha256=model.card.weights_sha256,
                unreadable=trained.unreadable,
            )
        log.info("training.finished", run_id=str(run.id), unreadable=trained.unreadable)
    except LeaseLostError as error:
        log.warning("training.stopped", run_id=str(run.id), error_type=type(error).__name__)
        if _is_open(services, run.id):
            return  # another worker goes on from the checkpoint
    except ServiceUnavailableError:
        raise  # the lease runs out, and whoever takes the run goes on from the checkpoint
    except TriageError as error:
        with services.sessions.begin() as session:
            runs.finish(session, run.id, token, RunStatus.FAILED, progress=run.progress, error=str(error))
        log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__)
    shutil.rmtree(folder, ignore_errors=True)


def _make_model(
    services: Services, run: Run, config: TrainingConfig, *, folder: Path, device: torch.device, observer: Heart
) -> TrainedModel:
    manifest = read_manifest(Path(str(run.parameters["manifest"])), n_reviewers=config.n_reviewers)
    return train_model(
        split_photos(manifest, seed=config.seed),
        config,
        name=str(run.parameters["name"]),
        init=str(run.parameters["init"]),
        folder=folder,
        device=device,
        limits=services.settings.image_limits,
        observer=observer,
    )


def _register(services: Services, trained: TrainedModel) -> RegisteredModel:
    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder), trained.card, trained.weights)
        return services.registry.add(Path(folder), actor="training")


def _is_open(services: Services, run_id: RunId) -> bool:
    with services.sessions() as session:
        return runs.find(session, run_id).status in {RunStatus.PENDING, RunStatus.RUNNING}


def _config(document: object) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UsageError(f"the training settings are wrong at: {fields}") from error
