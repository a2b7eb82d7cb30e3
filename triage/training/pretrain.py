"""Contrastive pretraining: from photos without labels to the initial weights of a training.

The objective: `triage.training.contrastive`. The loop keeps what a training keeps: checkpoints, the lease, progress.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from triage.domain.architecture import layers_of
from triage.domain.card import PRETRAINING, Card
from triage.errors import UsageError
from triage.files.atomic import make_folders
from triage.imaging.decode import Decoder
from triage.model.artifact import bind_card
from triage.model.engines.float32 import use_card
from triage.model.named import LoadRegistered
from triage.model.network import OrdinalVGG16, draw_network
from triage.model.weights import weights_of
from triage.training.checkpoint import CheckpointWriter, Epoch, TrainingState, read_checkpoint
from triage.training.config import PretrainingConfig, TrainingConfig
from triage.training.contrastive import ContrastiveNetwork, ContrastivePasses
from triage.training.initial import initial_network
from triage.training.photos import load_unlabelled
from triage.training.progress import OnProgress, Progress, ignore_progress
from triage.training.sgd import Sgd, copy_to_cpu
from triage.training.train import CHECKPOINT, TrainedModel
from triage.training.views import plan_epoch, read_batches


def pretrain_model(
    readers: Sequence[Callable[[], bytes]],
    config: PretrainingConfig,
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
    """Pretrains and describes a model. Called again with the same folder, it resumes after the last epoch.

    Args:
        readers: each returns the bytes of one photo. Photos that cannot be read are left out and counted.
        config: the settings.
        name: of the new model.
        init: the initial weights, as in `initial_network`; not read again when the pretraining resumes.
        folder: for the checkpoint and the decoded photos of this run; not shared. The caller deletes it.
        device: to train on.
        decoder: for the photos.
        load_registered: called if `init` names a registered model.
        threads: photos prepared at the same time.
        on_progress: called after each photo, batch and epoch.

    Returns:
        A model that a training can start from. Its head is new, so it cannot score.

    Raises:
        UsageError: fewer than two photos can be read, or the initial weights do not exist.
        ModelError: the initial weights or the checkpoint are damaged.
    """
    make_folders(folder)
    checkpoint, run = folder / CHECKPOINT, config.model_dump_json()
    resume = read_checkpoint(checkpoint, run=run)
    if resume is None:
        network, started_from = initial_network(init, TrainingConfig(seed=config.seed), load_registered)
    else:
        network, started_from = OrdinalVGG16(layers=layers_of(resume.architecture)), resume.started_from
    photos, unreadable = _load(readers, folder, decoder, threads, on_progress)
    if len(photos) < 2:
        raise UsageError("fewer than two photos can be read: check the photos")
    with CheckpointWriter(checkpoint, run=run) as writer:
        state = pretrain(
            network,
            photos,
            config,
            device=device,
            threads=threads,
            started_from=started_from,
            resume=resume,
            save=writer.save,
            on_progress=on_progress,
        )
    made = draw_network(config.seed, layers=network.layers)  # its head has learned nothing
    made.features.load_state_dict(network.features.state_dict())
    card = Card(
        name=name,
        architecture=made.architecture,
        threshold=0.5,
        threshold_chosen_by="pretraining, which gives no threshold",
        trained=False,
        data_summary={"photos": len(photos), "unreadable": unreadable},
        training_settings={
            PRETRAINING: "contrastive",
            **config.model_dump(),
            "started_from": state.started_from,
            "device": device.type,
        },
        learning_curve=tuple(asdict(epoch) for epoch in state.epochs),
        created_at=datetime.now(UTC),
    )
    weights = weights_of(made, made_as=f"{name} {run}")
    return TrainedModel(bind_card(card, weights), weights, unreadable)


def pretrain(
    network: OrdinalVGG16,
    photos: NDArray[np.uint8],
    config: PretrainingConfig,
    *,
    device: torch.device,
    threads: int = 1,
    started_from: str = "random",
    resume: TrainingState | None = None,
    save: Callable[[TrainingState], None] = lambda _: None,
    on_progress: OnProgress = ignore_progress,
) -> TrainingState:
    """Pretrains the convolutions of a network in place.

    On a CPU the result depends only on the photos, the config and torch's number of threads, also after an
    interruption.

    Args:
        network: with its initial weights, unless `resume` is given.
        photos: uint8 (N, 3, 448, 448), may be mapped from a file.
        config: the settings.
        device: to train on; the network is moved there.
        threads: photos whose views are made at the same time.
        started_from: the name of the initial weights, for the state.
        resume: the state after the last finished epoch.
        save: called after each epoch, before it is reported.
        on_progress: called after each batch, after each epoch and at a resumption.

    Returns:
        The state after the last epoch, on the CPU.

    Raises:
        DeviceError: the memory of the device is too small for a single photo.
    """
    use_card(device)
    network.freeze_convolutions(config.frozen_convolutions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        contrastive = ContrastiveNetwork(network)
    contrastive.to(device).to(memory_format=torch.channels_last)
    network.head.requires_grad_(False)
    state = resume or TrainingState({}, {}, started_from, network.architecture)
    if resume:
        contrastive.load_state_dict(resume.network)
        on_progress(Progress("training", epochs=state.epochs))
    optimiser = Sgd(contrastive, config, state.momentum)
    passes = ContrastivePasses(contrastive, optimiser, config)
    while len(state.epochs) < config.epochs:
        started = time.monotonic()
        number = len(state.epochs) + 1
        optimiser.rate = config.learning_rate * (1 + math.cos(math.pi * (number - 1) / config.epochs)) / 2
        loss = _train_epoch(passes, photos, config, threads, number, on_progress)
        seconds = max(time.monotonic() - started, 1e-9)
        epoch = Epoch(
            number,
            loss,
            validation_loss=None,
            validation_auc=None,
            learning_rate=optimiser.rate,
            photos_per_second=len(photos) / seconds,
            seconds=seconds,
            is_best=True,  # the last epoch counts: without labels nothing says which is better
        )
        state = TrainingState(
            network=copy_to_cpu(contrastive.state_dict()),
            best={},
            started_from=state.started_from,
            architecture=state.architecture,
            momentum=optimiser.momentum_by_name(),
            epochs=(*state.epochs, epoch),
        )
        save(state)
        on_progress(Progress("training", epoch=number, done=1.0, epochs=state.epochs))
    return state


def _train_epoch(
    passes: ContrastivePasses,
    photos: NDArray[np.uint8],
    config: PretrainingConfig,
    threads: int,
    number: int,
    on_progress: OnProgress,
) -> float:
    """Returns the mean loss."""
    started = time.monotonic()
    batches = plan_epoch(len(photos), config.batch_photos, seed=config.seed, number=number)
    total = torch.zeros((), device=passes.device)
    n_done = 0
    for batch, views in zip(batches, read_batches(photos, batches, threads), strict=True):
        total += passes.learn(views.to(passes.device), batch.classes.to(passes.device)) * len(views)
        n_done += len(views)
        on_progress(Progress.within_epoch(number, n_done, len(photos), seconds=time.monotonic() - started))
    return float(total) / len(photos)


def _load(
    readers: Sequence[Callable[[], bytes]], folder: Path, decoder: Decoder, threads: int, on_progress: OnProgress
) -> tuple[NDArray[np.uint8], int]:
    started = time.monotonic()

    def report(n_read: int) -> None:
        rate = n_read / max(time.monotonic() - started, 1e-9)
        on_progress(Progress("reading photos", photos=n_read, of_photos=len(readers), photos_per_second=rate))

    return load_unlabelled(readers, folder / "unlabelled.photos", decoder, threads=threads, on_photo=report)
