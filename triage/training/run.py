"""A training run from row to candidate model: lock the device, claim, train with heartbeats, register."""

import shutil
import socket
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
import torch
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from triage.dataset.manifest import Manifest, read_manifest
from triage.dataset.splits import split_photos
from triage.domain.card import ModelName
from triage.domain.ids import LeaseToken
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.errors import LeaseLostError, ServiceUnavailableError, TriageError, UsageError, where
from triage.imaging.decode import Decoder
from triage.model.artifact import write_artifact
from triage.model.engines.choose import choose_device
from triage.storage import runs
from triage.storage.locks import HeldLock, try_lock
from triage.storage.model_versions import RegisteredModel
from triage.training.config import TrainingConfig
from triage.training.lease import Heart
from triage.training.train import TrainedModel, train_model
from worker.services import Services

log = structlog.get_logger(__name__)

_OPEN: Final = {RunStatus.PENDING, RunStatus.RUNNING}
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def train_next(services: Services) -> bool:
    """Trains the next run that waits or has lost its worker. False where there is none, or the device is taken."""
    settings = services.settings.training
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    lease = timedelta(seconds=settings.lease_seconds)
    with try_lock(services.engine, device_lock(device)) as lock:
        if lock is None:
            log.info("training.postponed", device=str(device))
            return False
        _delete_left_folders(services)
        with services.sessions.begin() as session:
            claimed = runs.claim(session, RunKind.TRAINING, lease=lease)
        if claimed is None:
            return False
        _train_run(services, *claimed, device=device, lease=lease, lock=lock)
    return True


def device_lock(device: torch.device) -> str:
    """The name of the lock under which a device trains; containers that share a card or a machine share its name."""
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_properties(device).uuid}"
    machine = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else socket.gethostname()
    return f"training on {device} of {machine}"


def _train_run(
    services: Services, run: Run, token: LeaseToken, *, device: torch.device, lease: timedelta, lock: HeldLock
) -> None:
    """Trains one run to its end. Whatever ends it is on its row; only a lost lease or database leaves it open."""
    log.info("training.started", run_id=str(run.id), device=str(device))
    try:
        config = _checked(services, run)
        with Heart(services.sessions, run, token, lease, device=lock, epochs=config.epochs) as heart:
            try:
                trained = _make_model(services, run, config, device=device, observer=heart)
                heart.check()
                model = _register(services, trained)
            except TriageError as error:
                if isinstance(error, LeaseLostError | ServiceUnavailableError):
                    raise
                heart.finish(RunStatus.FAILED, error=str(error))
                raise
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
    except (ServiceUnavailableError, SQLAlchemyError):
        raise  # the lease runs out, and whoever takes the run goes on from the checkpoint
    except TriageError as error:
        _fail(services, run, token, str(error))
        log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__)
    except Exception as error:  # a defect, or a device or disk that is full; never its text, which may name a photo
        frames = " < ".join(reversed(where(error.__traceback__)))
        _fail(services, run, token, f"internal error: {type(error).__name__} at {frames}")
        log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__, where=frames)
    _delete_left_folders(services)


def _checked(services: Services, run: Run) -> TrainingConfig:
    """The settings of a run, told wrong before an hour is spent on it.

    Raises:
        UsageError: the settings or the name are wrong, or too many workers died of the run.
    """
    if run.attempts > services.settings.training.max_attempts:
        raise UsageError("its worker died too often: see the training worker's log, then start another run")
    try:
        TypeAdapter(ModelName).validate_python(run.parameters["name"])
        return TrainingConfig.model_validate(run.parameters["config"])
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UsageError(f"the training settings are wrong at: {fields}") from error


def _make_model(
    services: Services, run: Run, config: TrainingConfig, *, device: torch.device, observer: Heart
) -> TrainedModel:
    with Decoder(services.settings.image_limits) as decoder:
        return train_model(
            split_photos(_manifest(run, config), seed=config.seed),
            config,
            name=str(run.parameters["name"]),
            init=str(run.parameters["init"]),
            folder=services.settings.training_folder / str(run.id),
            device=device,
            decoder=decoder,
            observer=observer,
        )


def _manifest(run: Run, config: TrainingConfig) -> Manifest:
    try:
        return read_manifest(Path(str(run.parameters["manifest"])), n_reviewers=config.n_reviewers)
    except UsageError as error:  # what it says of files is for whoever asks, and not for the database
        raise UsageError("the manifest cannot be used: `triage dataset check` says why") from error


def _register(services: Services, trained: TrainedModel) -> RegisteredModel:
    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder), trained.card, trained.weights)
        return services.registry.add(Path(folder), actor="training")


def _fail(services: Services, run: Run, token: LeaseToken, error: str) -> None:
    with suppress(LeaseLostError), services.sessions.begin() as session:
        runs.finish(session, run.id, token, RunStatus.FAILED, progress=run.progress, error=error)


def _delete_left_folders(services: Services) -> None:
    """Deletes the photos and checkpoints of runs that have ended, whoever was killed before doing so."""
    root = services.settings.training_folder
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(ValueError):
            if not _is_open(services, UUID(folder.name)):
                shutil.rmtree(folder, ignore_errors=True)


def _is_open(services: Services, run_id: UUID) -> bool:
    try:
        with services.sessions() as session:
            return runs.find(session, run_id).status in _OPEN
    except UsageError:
        return False
