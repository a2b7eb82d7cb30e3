"""The training loop: CORAL loss on the pooled patches of a photo, SGD, the first convolutions frozen.

Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285. The loss: `triage.model.coral`.

Axes: N photos of a set, n photos of a batch, 5 patches, K outputs (one for each reviewer).
"""

import math
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from triage.model.coral import coral_loss
from triage.model.engines.float32 import use_full_float32
from triage.model.network import OrdinalVGG16, pool_patches
from triage.statistics.auc import auc
from triage.training.checkpoint import Epoch, TrainingState
from triage.training.config import TrainingConfig
from triage.training.photos import PhotoSet
from triage.training.progress import OnProgress, Progress, ignore_progress


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
        save: called after each epoch, before it is reported; the state's tensors change with the next epoch.
        on_progress: called after each batch of training and validation, and after each epoch.

    Returns:
        The state after the last epoch.
    """
    if device.type == "cuda":
        use_full_float32()
    network.to(device).to(memory_format=torch.channels_last)
    network.freeze_convolutions(config.frozen_convolutions)
    trained = {name: weights for name, weights in network.named_parameters() if weights.requires_grad}
    optimiser = torch.optim.SGD(
        trained.values(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    state = resume or TrainingState(
        network.state_dict(), _copy(network.state_dict()), started_from, network.architecture
    )
    if resume:
        network.load_state_dict(resume.network)
        for name, buffer in resume.momentum.items():
            optimiser.state[trained[name]]["momentum_buffer"] = buffer.to(device)
    while not state.is_finished(epochs=config.epochs, patience=config.patience):
        started = time.monotonic()
        number = len(state.epochs) + 1
        train_loss = _train_epoch(network, training, config, optimiser, number, on_progress)
        trained_all = Progress("training", epoch=number, done=1.0)
        validation_loss, validation_auc = _validate(network, validation, config, partial(on_progress, trained_all))
        watched_loss = train_loss if validation_loss is None else validation_loss
        is_best = watched_loss < min((epoch.watched_loss for epoch in state.epochs), default=math.inf)
        epoch = Epoch(number, train_loss, validation_loss, validation_auc, time.monotonic() - started, is_best)
        weights = network.state_dict()
        state = TrainingState(
            network=weights,
            best=_copy(weights) if is_best else state.best,
            started_from=state.started_from,
            architecture=state.architecture,
            momentum={name: optimiser.state[weight]["momentum_buffer"] for name, weight in trained.items()},
            epochs=(*state.epochs, epoch),
        )
        save(state)
        on_progress(Progress("training", epoch=number, done=1.0, epochs=state.epochs))
    network.load_state_dict(state.best)
    return state


@torch.inference_mode()
def predict(
    network: OrdinalVGG16,
    photos: PhotoSet,
    config: TrainingConfig,
    *,
    on_batch: Callable[[], object] = lambda: None,
) -> Tensor:
    """The pooled cumulative probabilities of photos, without recalibration: float32 (N, K)."""
    network.eval()
    device = _device(network)
    rows = []
    for batch in photos.photos.split(config.batch_photos):
        if len(batch):
            rows.append(pool_patches(_forward(network, batch.to(device), config).float(), config.pooling)[0].cpu())
            on_batch()
    return torch.cat(rows) if rows else torch.empty((0, config.n_reviewers))  # (n, K) each -> (N, K)


def _train_epoch(
    network: OrdinalVGG16,
    training: PhotoSet,
    config: TrainingConfig,
    optimiser: torch.optim.Optimizer,
    number: int,
    on_progress: OnProgress,
) -> float:
    """Returns the mean loss."""
    network.train()
    device = _device(network)
    random = torch.Generator().manual_seed(_epoch_seed(config.seed, number))
    trained = [weights for weights in network.parameters() if weights.requires_grad]
    total = torch.zeros((), device=device)
    order = torch.randperm(len(training), generator=random).split(config.batch_photos)
    for index, chosen in enumerate(order, 1):
        photos = training.photos[chosen].to(device, non_blocking=True)  # uint8 (n, 3, 448, 448)
        votes = training.votes[chosen].to(device, non_blocking=True)  # (n,)
        if config.flips:
            photos = _flip(photos, random)
        logits = _forward(network, photos, config).float()  # (n, 5, K)
        cumulative, _ = pool_patches(logits, config.pooling)  # (n, K)
        loss = coral_loss(cumulative, votes)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.max_gradient_norm)
        optimiser.step()
        network.head.order_biases()
        total += loss.detach() * len(chosen)
        on_progress(Progress("training", epoch=number, done=index / len(order)))
    return float(total) / len(training)


@torch.inference_mode()
def _validate(
    network: OrdinalVGG16, validation: PhotoSet, config: TrainingConfig, on_batch: Callable[[], object]
) -> tuple[float | None, float | None]:
    """Returns the loss and the AUC, None if they are not defined."""
    if not len(validation):
        return None, None
    cumulative = predict(network, validation, config, on_batch=on_batch)  # (N, K)
    loss = coral_loss(cumulative, validation.votes)
    good = (validation.votes >= config.good_votes).numpy()
    area = auc(cumulative[:, config.good_votes - 1].double().numpy(), good) if 0 < good.sum() < len(good) else None
    return float(loss), area


def _forward(network: OrdinalVGG16, photos: Tensor, config: TrainingConfig) -> Tensor:
    with torch.autocast(photos.device.type, torch.bfloat16, enabled=config.mixed_precision and photos.is_cuda):
        logits: Tensor = network(photos)  # (n, 3, 448, 448) -> (n, 5, K)
    return logits


def _flip(photos: Tensor, random: torch.Generator) -> Tensor:
    """Flips each photo (n, 3, 448, 448) left-right and top-bottom, each with probability 0.5."""
    horizontal, vertical = (torch.rand(2, len(photos), 1, 1, 1, generator=random) < 0.5).to(
        photos.device
    )  # (n, 1, 1, 1)
    photos = torch.where(horizontal, photos.flip(3), photos)
    return torch.where(vertical, photos.flip(2), photos)


def _device(network: OrdinalVGG16) -> torch.device:
    return next(network.parameters()).device


def _epoch_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**63


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
