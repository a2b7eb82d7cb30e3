"""The training loop: CORAL loss on the pooled patches of a photo, SGD, the first convolutions frozen.

Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285. The loss: `triage.model.coral`.

Axes: N photos of a set, n photos of a batch, 5 patches, K outputs (the votes that most photos have).
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from triage.dataset.manifest import LabelledPhoto
from triage.model.coral import coral_loss
from triage.model.engines.float32 import use_card
from triage.model.network import OrdinalVGG16
from triage.statistics.auc import auc
from triage.training.batches import Batches, batches_on, split_evenly
from triage.training.checkpoint import Epoch, TrainingState
from triage.training.config import TrainingConfig
from triage.training.passes import Passes, flip
from triage.training.photos import PhotoSet, levels_of_labels
from triage.training.progress import OnProgress, Progress, ignore_progress
from triage.training.sgd import Sgd, copy_to_cpu

_VALIDATION_PHOTOS: Final = 64
"""Photos in a batch of validation on a card: without gradients, more of them fit."""


def train(
    network: OrdinalVGG16,
    training: PhotoSet,
    validation: PhotoSet,
    config: TrainingConfig,
    *,
    device: torch.device,
    started_from: str = "random",
    resume: TrainingState | None = None,
    save: Callable[[TrainingState], None] = lambda _: None,
    on_progress: OnProgress = ignore_progress,
) -> TrainingState:
    """Trains a network in place and leaves it with the weights of its best epoch.

    On a CPU the result depends only on the photos, the config and the number of threads, even if the training was
    interrupted and resumed.

    Args:
        network: with its initial weights, unless `resume` is given.
        training: the photos to learn from.
        validation: the photos for early stopping; may be empty.
        config: the settings.
        device: to train on; the network is moved there.
        started_from: the name of the initial weights, for the state.
        resume: the state after the last finished epoch.
        save: called after each epoch, before it is reported.
        on_progress: called after each batch of training and validation, and with all finished epochs after each epoch
            and at a resumption: the epochs that were reported before may differ by the last.

    Returns:
        The state after the last epoch. Its tensors are on the CPU and no longer change.

    Raises:
        DeviceError: the memory of the device is too small for a single photo.
    """
    use_card(device)
    network.to(device).to(memory_format=torch.channels_last)
    network.freeze_convolutions(config.frozen_convolutions)
    optimiser = Sgd(network, config, resume.momentum if resume else None)
    initial = copy_to_cpu(network.state_dict())
    state = resume or TrainingState(initial, initial, started_from, network.architecture)
    if resume:
        network.load_state_dict(resume.network)
        on_progress(Progress("training", epochs=state.epochs))
    passes = Passes(network, optimiser, config)
    to_learn, to_validate = batches_on(device, training), batches_on(device, validation)
    levels = levels_of_labels(training.labels, config.n_reviewers)
    while not state.is_finished(epochs=config.epochs, patience=config.patience):
        started = time.monotonic()
        number = len(state.epochs) + 1
        train_loss = _train_epoch(passes, to_learn, levels, config, number, on_progress)
        photos_per_second = len(training) / max(time.monotonic() - started, 1e-9)
        trained_all = partial(on_progress, Progress("training", epoch=number, done=1.0))
        validation_loss, validation_auc = _validate(passes, to_validate, validation.labels, config, trained_all)
        watched_loss = train_loss if validation_loss is None else validation_loss
        is_best = watched_loss < min((epoch.watched_loss for epoch in state.epochs), default=math.inf)
        epoch = Epoch(
            number,
            train_loss,
            validation_loss,
            validation_auc,
            learning_rate=optimiser.rate,
            photos_per_second=photos_per_second,
            seconds=time.monotonic() - started,
            is_best=is_best,
        )
        weights = copy_to_cpu(network.state_dict())
        state = TrainingState(
            network=weights,
            best=weights if is_best else state.best,
            started_from=state.started_from,
            architecture=state.architecture,
            momentum=optimiser.momentum_by_name(),
            epochs=(*state.epochs, epoch),
        )
        save(state)
        on_progress(Progress("training", epoch=number, done=1.0, epochs=state.epochs))
    network.load_state_dict(state.best)
    return state


def _train_epoch(
    passes: Passes, batches: Batches, levels: Tensor, config: TrainingConfig, number: int, on_progress: OnProgress
) -> float:
    """Returns the mean loss."""
    started = time.monotonic()
    order, flips = _draw_epoch(len(levels), config.seed, number)  # (N,), (N, 2)
    levels_of_batches, flips_of_batches = (
        split_evenly(rows.to(passes.device), config.batch_photos) for rows in (levels[order], flips)
    )
    total = torch.zeros((), device=passes.device)
    n_done = 0
    for photos, their_levels, their_flips in zip(
        batches.of(order, config.batch_photos), levels_of_batches, flips_of_batches, strict=True
    ):
        loss = passes.learn(flip(photos, their_flips) if config.flips else photos, their_levels)
        total += loss * len(photos)
        n_done += len(photos)
        on_progress(Progress.within_epoch(number, n_done, len(order), seconds=time.monotonic() - started))
    return float(total) / len(order)


def _validate(
    passes: Passes,
    batches: Batches,
    labels: Sequence[LabelledPhoto],
    config: TrainingConfig,
    on_batch: Callable[[], object],
) -> tuple[float | None, float | None]:
    """Returns the loss and the AUC, None if they are not defined."""
    if not labels:
        return None, None
    rows = []
    photos_each = config.batch_photos if passes.device.type == "cpu" else _VALIDATION_PHOTOS
    for photos in batches.of(torch.arange(len(labels)), photos_each):
        rows.append(passes.predict(photos))  # (n, K)
        on_batch()
    cumulative = torch.cat(rows)  # (N, K)
    good = np.array([label.is_good(config.good_votes, config.n_reviewers) for label in labels])
    area = auc(cumulative[:, config.good_votes - 1].double().numpy(), good) if 0 < good.sum() < len(good) else None
    return float(coral_loss(cumulative, levels_of_labels(labels, config.n_reviewers))), area


def _draw_epoch(n_photos: int, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """The order of the photos (N,), and whether each is flipped left-right and top-bottom: bool (N, 2)."""
    random = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    return torch.randperm(n_photos, generator=random), torch.rand(n_photos, 2, generator=random) < 0.5
