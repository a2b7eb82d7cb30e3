"""From a manifest to a model: decode the photos, train, describe."""

import secrets
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch

from triage.dataset.manifest import Manifest, Split
from triage.domain.architecture import layers_of
from triage.domain.card import Card
from triage.errors import UsageError
from triage.files.atomic import make_folders, write_durably
from triage.imaging.decode import Decoder
from triage.model.artifact import bind_card
from triage.model.named import LoadRegistered
from triage.model.network import OrdinalVGG16
from triage.model.photo_hashes import PhotoHashes
from triage.model.weights import weights_of
from triage.training.checkpoint import CheckpointWriter, read_checkpoint
from triage.training.config import TrainingConfig
from triage.training.describe import describe_network
from triage.training.initial import initial_network
from triage.training.loop import train
from triage.training.photos import PhotoSet, load_photos
from triage.training.progress import OnProgress, Progress, ignore_progress
from triage.training.reason_photos import add_reasons, read_teacher

CHECKPOINT: Final = "checkpoint.safetensors"
_SALT: Final = "salt"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model.

    Attributes:
        card: with the hash of the weights.
        weights: a safetensors file.
        unreadable: the number of photos that were left out.
    """

    card: Card
    weights: bytes
    unreadable: int


def train_model(
    manifest: Manifest,
    config: TrainingConfig,
    *,
    name: str,
    init: str,
    folder: Path,
    device: torch.device,
    decoder: Decoder,
    load_registered: LoadRegistered,
    threads: int = 1,
    on_progress: OnProgress = ignore_progress,
) -> TrainedModel:
    """Trains, evaluates and describes a model. Called again with the same folder, it resumes after the last epoch.

    Args:
        manifest: with splits.
        config: the settings.
        name: of the new model.
        init: the initial weights, as in `initial_network`; not read again when training resumes.
        folder: for the checkpoint and the decoded photos of this run; not shared. The caller deletes it.
        device: to train on.
        decoder: for the photos.
        load_registered: called if `init` names a registered model.
        threads: photos prepared at the same time.
        on_progress: called after each photo, batch and epoch, and during the evaluation.

    Raises:
        UsageError: no photo of the training split can be read, or the initial weights do not exist.
        ModelError: the initial weights or the checkpoint are damaged.
    """
    make_folders(folder)
    salt = _salt(folder)
    sets, unreadable = _load(manifest, config, folder, decoder, salt, threads, on_progress)
    if not len(sets[Split.TRAIN]):
        raise UsageError("no photo of the training split can be read: check the files of the manifest")
    checkpoint, run = folder / CHECKPOINT, config.model_dump_json()
    resume = read_checkpoint(checkpoint, run=run)
    if resume is None:
        network, started_from = initial_network(init, config, load_registered)
    else:
        layers = layers_of(resume.architecture)
        network, started_from = OrdinalVGG16(config.n_reviewers, config.head, layers), resume.started_from
    with CheckpointWriter(checkpoint, run=run) as writer:
        state = train(
            network,
            sets[Split.TRAIN],
            sets[Split.VALIDATION],
            config,
            device=device,
            started_from=started_from,
            resume=resume,
            save=writer.save,
            on_progress=on_progress,
        )
    evaluating = partial(on_progress, Progress("evaluating"))
    evaluating()
    card = describe_network(
        network,
        sets,
        state,
        config,
        name=name,
        manifest=manifest,
        unreadable=unreadable,
        device=device,
        on_batch=evaluating,
    )
    teacher = read_teacher(init, state.started_from, load_registered)
    card = add_reasons(network, card, sets, config, teacher, device=device, on_batch=evaluating)
    learned_from = PhotoHashes.of(salt, [*sets[Split.TRAIN].hashes, *sets[Split.VALIDATION].hashes])
    weights = weights_of(network, made_as=f"{name} {run}", photos=learned_from)
    card = card.model_copy(update={"data_summary": {**card.data_summary, "photo_hashes": len(learned_from.hashes)}})
    return TrainedModel(bind_card(card, weights), weights, unreadable)


def _load(
    manifest: Manifest,
    config: TrainingConfig,
    folder: Path,
    decoder: Decoder,
    salt: str,
    threads: int,
    on_progress: OnProgress,
) -> tuple[dict[Split, PhotoSet], int]:
    labels = {split: manifest.of(split) for split in Split}
    total = sum(map(len, labels.values()))
    sets: dict[Split, PhotoSet] = {}
    done = unreadable = 0
    started = time.monotonic()

    def report(n_before: int, n_of_split: int) -> None:
        n_photos = n_before + n_of_split
        rate = n_photos / max(time.monotonic() - started, 1e-9)
        on_progress(Progress("reading photos", photos=n_photos, of_photos=total, photos_per_second=rate))

    for split in Split:
        sets[split], n_unreadable = load_photos(
            labels[split],
            folder / f"{split.value}.photos",
            decoder,
            region_of_interest=config.region_of_interest,
            salt=salt,
            threads=threads,
            on_photo=partial(report, done),
        )
        done += len(labels[split])
        unreadable += n_unreadable
    return sets, unreadable


def _salt(folder: Path) -> str:
    """The salt of the run, the same after a resumption: a worker that ends a run again gets the same weights file."""
    path = folder / _SALT
    if not path.exists():
        write_durably(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii")
