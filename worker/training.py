"""A training run from row to candidate model: claim, decode, train with heartbeats, register."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from pydantic import ValidationError

from triage.domain import LeaseToken, Run, RunKind, RunStatus
from triage.errors import AttachmentError, LeaseLostError, TriageError, UsageError
from triage.imaging.decode import ImageLimits, decode_photo
from triage.quality.artifact import read_artifact, write_artifact
from triage.quality.card import Card
from triage.quality.network import OrdinalVGG16
from triage.quality.patches import resize_photo
from triage.quality.scorer import choose_device
from triage.quality.untrained import draw_network
from triage.quality.weights import load_network, weights_of
from triage.storage import runs
from triage.training.config import TrainingConfig
from triage.training.loop import Epoch, Trained, TrainingPhoto, train
from triage.training.manifest import LabelledPhoto, Split, read_manifest
from worker.bootstrap import Services

log = structlog.get_logger(__name__)

_BEAT_SECONDS: Final = 2.0


def train_next(services: Services) -> bool:
    """Trains the next run that waits or has lost its worker. False where there is none."""
    lease = timedelta(seconds=services.settings.training.lease_seconds)
    with services.sessions.begin() as session:
        claimed = runs.claim(session, RunKind.TRAINING, lease=lease)
    if claimed is None:
        return False
    run, token = claimed
    heart = Heart(services, run, token, lease)
    log.info("training.started", run_id=str(run.id))
    try:
        heart.progress["model"] = _train(services, run, heart)
        heart.finish(RunStatus.DONE)
        log.info("training.finished", run_id=str(run.id))
    except LeaseLostError as error:
        log.warning("training.stopped", run_id=str(run.id), error_type=type(error).__name__)
    except TriageError as error:
        heart.finish(RunStatus.FAILED, error=str(error))
        log.error("training.failed", run_id=str(run.id), error_type=type(error).__name__)
    return True


class Heart:
    """Keeps a run's lease and its progress; a beat that finds the lease lost ends the training."""

    def __init__(self, services: Services, run: Run, token: LeaseToken, lease: timedelta) -> None:
        self.progress: dict[str, object] = {"epoch": 0, "done": 0.0, "epochs": []}
        self._services = services
        self._run = run
        self._token = token
        self._lease = lease
        self._last = 0.0

    def beat(self, *, force: bool = False) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run, or it was cancelled.
        """
        if not force and time.monotonic() - self._last < _BEAT_SECONDS:
            return
        self._last = time.monotonic()
        with self._services.sessions.begin() as session:
            runs.beat(session, self._run.id, self._token, lease=self._lease, progress=self.progress)

    def on_batch(self, epoch: int, done: float) -> None:
        self.progress |= {"epoch": epoch, "done": done}
        self.beat()

    def on_epoch(self, epoch: Epoch) -> None:
        self.progress["epochs"] = [*self._epochs(), asdict(epoch)]
        self.beat(force=True)

    def finish(self, status: RunStatus, *, error: str | None = None) -> None:
        with self._services.sessions.begin() as session:
            runs.finish(session, self._run.id, self._token, status, progress=self.progress, error=error)

    def _epochs(self) -> list[object]:
        epochs = self.progress["epochs"]
        return epochs if isinstance(epochs, list) else []


def _train(services: Services, run: Run, heart: Heart) -> str:
    config = _config(run.parameters["config"])
    labelled = read_manifest(Path(str(run.parameters["manifest"])), n_reviewers=config.n_reviewers)
    training, validation = (
        _load_photos(labelled, split, services.settings.image_limits, heart)
        for split in (Split.TRAIN, Split.VALIDATION)
    )
    if not training:
        raise UsageError("no photo of the training split can be read: check the manifest's files")
    trained = train(
        _initial_network(run.parameters["init"], config),
        training,
        validation,
        config,
        device=choose_device(services.settings.training.device),
        on_batch=heart.on_batch,
        on_epoch=heart.on_epoch,
    )
    card = _card(str(run.parameters["name"]), config, trained, len(training), len(validation))
    with tempfile.TemporaryDirectory() as folder:
        write_artifact(Path(folder), card, weights_of(trained.network))
        model = services.registry.add(Path(folder), actor="training")
    return model.card.weights_sha256


def _config(document: object) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(document)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise UsageError(f"the training settings are wrong at: {fields}") from error


def _load_photos(
    labelled: Sequence[LabelledPhoto], split: Split, limits: ImageLimits, heart: Heart
) -> list[TrainingPhoto]:
    photos = []
    for item in labelled:
        if item.split is not split:
            continue
        heart.beat()
        try:
            decoded = decode_photo(item.path.read_bytes(), limits)
        except (AttachmentError, OSError) as error:
            log.warning("photo.unreadable", error_type=type(error).__name__)
            continue
        photos.append(TrainingPhoto(resize_photo(decoded.image), item.votes))
    return photos


def _initial_network(init: object, config: TrainingConfig) -> OrdinalVGG16:
    """Random weights, or those of a model folder to go on from."""
    if init is None:
        return draw_network(config.seed, n_outputs=config.n_reviewers)
    card, weights = read_artifact(Path(str(init)))
    if card.n_outputs != config.n_reviewers:
        raise UsageError(f"the model to start from has {card.n_outputs} outputs, the votes need {config.n_reviewers}")
    return load_network(card, weights)


def _card(name: str, config: TrainingConfig, trained: Trained, n_training: int, n_validation: int) -> Card:
    best = min(trained.epochs, key=lambda epoch: epoch.validation_loss or epoch.train_loss)
    return Card(
        name=name,
        trained=True,
        n_outputs=config.n_reviewers,
        good_votes=config.good_votes,
        threshold=trained.threshold,
        threshold_chosen_by=trained.threshold_chosen_by,
        metrics={"best_epoch": asdict(best)},
        data_summary={"training_photos": n_training, "validation_photos": n_validation},
        training_settings=config.model_dump(),
        created_at=datetime.now(UTC),
    )
