"""A training run from its row to a candidate model: lock the device, claim, train under the lease, register."""

import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
import torch
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from triage.blobs.source import Source
from triage.dataset.manifest import Manifest, read_manifest
from triage.domain.card import PRETRAINING
from triage.domain.ids import LeaseToken
from triage.domain.runs import PretrainingParameters, Run, TrainingParameters
from triage.domain.states import RunKind, RunStatus
from triage.errors import (
    LeaseLostError,
    ServiceUnavailableError,
    TriageError,
    UsageError,
    validation_problems,
    where,
)
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.model.engines.choose import choose_device
from triage.model.engines.device_faults import device_errors
from triage.registry import Registry
from triage.storage import runs
from triage.storage.database import Sessions
from triage.storage.locks import HeldLock, try_lock
from triage.training.config import PretrainingConfig, TrainingConfig
from triage.training.lease import TrainingLease
from triage.training.pretrain import pretrain_model
from triage.training.progress import Progress
from triage.training.tracking import track
from triage.training.train import TrainedModel, train_model
from triage.training.unlabelled import readers_of

log = structlog.get_logger(__name__)

_OPEN: Final = {RunStatus.PENDING, RunStatus.RUNNING}
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class TrainerOptions:
    """How a worker trains.

    Attributes:
        folder: a subfolder for each run, with its checkpoint and decoded photos; deleted once the run has ended.
        lease: after this time without a heartbeat another worker may claim the run.
        max_attempts: workers that may lose a run, without an epoch in between, before it fails.
        limits: for decoding photos.
        device: `auto`, or torch's name of a device.
        threads: of torch on the CPU.
        decode_threads: photos prepared at the same time.
        mlflow_uri: of an MLflow server that gets a copy of each run; may have a password.
    """

    folder: Path
    lease: timedelta
    max_attempts: int
    limits: ImageLimits
    device: str
    threads: int
    decode_threads: int
    mlflow_uri: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Training:
    parameters: TrainingParameters
    config: TrainingConfig


@dataclass(frozen=True, slots=True)
class _Pretraining:
    parameters: PretrainingParameters
    config: PretrainingConfig


class Trainer:
    """Trains the runs of one database. Of all processes that share a device, one trains at a time."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        registry: Registry,
        options: TrainerOptions,
        *,
        source: Source,
        on_progress: Callable[[], object] = lambda: None,
    ) -> None:
        """
        Args:
            engine: of the same database as `sessions`, for the lock on the device.
            source: of the photos of messages, for a pretraining.
            on_progress: called after each photo and batch of a run.
        """
        self._engine = engine
        self._sessions = sessions
        self._registry = registry
        self._options = options
        self._source = source
        self._on_progress = on_progress

    def train_next(self) -> bool:
        """Claims the oldest open run that no worker holds, and trains it to its end.

        Returns:
            False if no run can be claimed, or another run trains on the device.

        Raises:
            ServiceUnavailableError: the database or a store does not respond. The run stays open.
            DeviceError: the memory of the device is full, or it failed. The run stays open with its checkpoint.
            ModelError: PyTorch does not find the device.
        """
        torch.set_num_threads(self._options.threads)
        device = choose_device(self._options.device)
        with device_errors():
            lock_name = device_lock(device)
        with try_lock(self._engine, lock_name) as lock:
            if lock is None:
                log.info("training.postponed", device=str(device))
                return False
            self._delete_folders_of_ended_runs()
            with self._sessions.begin() as session:
                claimed = runs.claim(session, RunKind.TRAINING, lease=self._options.lease)
            if claimed is None:
                return False
            self._train_run(*claimed, device=device, lock=lock)
        torch.cuda.empty_cache()  # for a scorer on the same card: this process may now wait for days
        return True

    def _train_run(self, run: Run, token: LeaseToken, *, device: torch.device, lock: HeldLock) -> None:
        """Trains one run. Errors end it and are stored on its row, except a lost lease, service or device."""
        log.info("training.started", run_id=str(run.id), device=str(device))
        tracking = track(self._options.mlflow_uri, run)
        try:
            work = self._checked(run)
            with TrainingLease(
                self._sessions,
                run,
                token,
                self._options.lease,
                device_lock=lock,
                max_epochs=work.config.epochs,
                on_stored=tracking.update,
            ) as lease:
                try:
                    trained = self._train_model(run, work, device=device, lease=lease)
                    lease.check()
                    model = self._registry.add(
                        # a new version only if another model got the name after the run was queued
                        trained.card,
                        trained.weights,
                        actor="training",
                        new_version=True,
                    )
                except TriageError as error:
                    if isinstance(error, LeaseLostError | ServiceUnavailableError):
                        raise
                    lease.finish(RunStatus.FAILED, error=str(error))
                    raise
                lease.finish(
                    RunStatus.DONE,
                    stage="done",
                    seconds_left=0,
                    model=model.card.name,
                    weights_sha256=model.card.weights_sha256,
                    unreadable=trained.unreadable,
                )
            tracking.end("FINISHED", model.card)
            log.info("training.finished", run_id=str(run.id), unreadable=trained.unreadable)
        except LeaseLostError as error:
            log.warning("training.stopped", run_id=str(run.id), error_type=type(error).__name__)
            if self._is_cancelled(run):
                tracking.end("KILLED")
        except (ServiceUnavailableError, SQLAlchemyError):
            raise  # the lease expires; the worker that claims the run next resumes from the checkpoint
        except TriageError as error:
            self._fail(run, token, str(error))
            tracking.end("FAILED")
            log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__)
        except Exception as error:  # a bug, or a full device or disk; never its text, which may name a photo
            frames = " < ".join(reversed(where(error.__traceback__)))
            self._fail(run, token, f"internal error: {type(error).__name__} at {frames}")
            tracking.end("FAILED")
            log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__, where=frames)
        finally:
            tracking.stop()
        self._delete_folders_of_ended_runs()

    def _checked(self, run: Run) -> _Training | _Pretraining:
        """
        Raises:
            UsageError: the parameters are invalid, or the run was begun too many times.
        """
        if run.attempts > self._options.max_attempts:
            raise UsageError(
                f"begun {self._options.max_attempts} times without reaching the end: see the training worker's log "
                "(a process that died, a card without memory), then start a new run"
            )
        try:
            if PRETRAINING in run.parameters:
                pretraining = PretrainingParameters.model_validate(run.parameters)
                return _Pretraining(pretraining, PretrainingConfig.model_validate(pretraining.config))
            parameters = TrainingParameters.model_validate(run.parameters)
            return _Training(parameters, TrainingConfig.model_validate(parameters.config))
        except ValidationError as error:
            raise UsageError(f"invalid training parameters: {validation_problems(error)}") from error

    def _train_model(
        self, run: Run, work: _Training | _Pretraining, *, device: torch.device, lease: TrainingLease
    ) -> TrainedModel:
        def report(progress: Progress) -> None:
            self._on_progress()
            lease.report(progress)

        make: Callable[..., TrainedModel]
        if isinstance(work, _Pretraining):
            with self._sessions() as session:
                readers = readers_of(session, work.parameters, self._source)
            make = partial(pretrain_model, readers, work.config)
        else:
            make = partial(train_model, _read_manifest(work.parameters, work.config), work.config)
        with device_errors(), Decoder(self._options.limits, processes=self._options.decode_threads) as decoder:
            return make(
                name=work.parameters.name,
                init=work.parameters.init,
                folder=self._options.folder / str(run.id),
                device=device,
                decoder=decoder,
                load_registered=self._registry.load,
                threads=self._options.decode_threads,
                on_progress=report,
            )

    def _fail(self, run: Run, token: LeaseToken, error: str) -> None:
        with suppress(LeaseLostError), self._sessions.begin() as session:
            runs.finish(session, run.id, token, RunStatus.FAILED, error=error)

    def _delete_folders_of_ended_runs(self) -> None:
        """Includes the folders of killed workers."""
        root = self._options.folder
        for folder in root.iterdir() if root.is_dir() else ():
            with suppress(ValueError):
                if not self._is_open(UUID(folder.name)):
                    shutil.rmtree(folder, ignore_errors=True)

    def _is_cancelled(self, run: Run) -> bool:
        with suppress(UsageError), self._sessions() as session:
            return runs.find(session, run.id).status is RunStatus.CANCELLED
        return False

    def _is_open(self, run_id: UUID) -> bool:
        try:
            with self._sessions() as session:
                return runs.find(session, run_id).status in _OPEN
        except UsageError:
            return False


def device_lock(device: torch.device) -> str:
    """The name of the lock on a device. Containers that share a GPU or a machine get the same name."""
    if device.type == "cuda":
        return f"training on {torch.cuda.get_device_properties(device).uuid}"
    machine = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else socket.gethostname()
    return f"training on {device} of {machine}"


def _read_manifest(parameters: TrainingParameters, config: TrainingConfig) -> Manifest:
    try:
        manifest = read_manifest(Path(parameters.manifest), n_reviewers=config.n_reviewers)
    except (UsageError, OSError) as error:  # its text names files, which must not be stored in the database
        raise UsageError("the manifest is invalid or unreadable: check it, then start a new run") from error
    if parameters.manifest_sha256 not in {"", manifest.sha256}:
        raise UsageError("the manifest has changed since the run was queued: start a new run")
    return manifest
