"""The training loop: CORAL loss on the pooled patches of a photo, SGD, the first five convolutions frozen.

Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285. The loss: Cao, Mirjalili, Raschka 2020, Rank consistent ordinal
regression for neural networks, doi:10.1016/j.patrec.2020.11.008.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from triage.quality.network import OrdinalVGG16, pool_patches
from triage.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class TrainingPhoto:
    """A resized photo, uint8 (3, 448, 448), and its votes."""

    photo: Tensor
    votes: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """Losses are means over photos; `validation_loss` is None where there are no validation photos."""

    number: int
    train_loss: float
    validation_loss: float | None
    is_best: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """The network of the best epoch, and the threshold by Youden's index with the photos that it was chosen on."""

    network: OrdinalVGG16
    epochs: Sequence[Epoch]
    threshold: float
    threshold_chosen_by: str


def train(
    network: OrdinalVGG16,
    training: Sequence[TrainingPhoto],
    validation: Sequence[TrainingPhoto],
    config: TrainingConfig,
    *,
    device: torch.device,
    on_batch: Callable[[int, float], None] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Trained:
    """Trains a network and returns it as it was at its best epoch.

    Args:
        on_batch: called after every batch with the epoch, from 1, and the share of it that is done, 0..1.
        on_epoch: called after every epoch. What either raises ends the training.
    """
    network = network.to(device).to(memory_format=torch.channels_last)
    network.freeze_convolutions(config.frozen_convolutions)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(
        trained,
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    random = torch.Generator().manual_seed(config.seed)
    epochs: list[Epoch] = []
    best_loss, best_weights = math.inf, copy.deepcopy(network.state_dict())
    for number in range(1, config.epochs + 1):
        network.train()
        total = 0.0
        order = torch.randperm(len(training), generator=random).split(config.batch_photos)
        for index, chosen in enumerate(order):
            photos, votes = _batch([training[i] for i in chosen.tolist()], device)
            loss = coral_loss(network(_flip(photos, random)), votes)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.max_gradient_norm)
            optimiser.step()
            network.head.order_biases()
            total += loss.item() * len(chosen)
            if on_batch:
                on_batch(number, (index + 1) / len(order))
        train_loss = total / len(training)
        validation_loss = mean_loss(network, validation, config, device) if validation else None
        judged = train_loss if validation_loss is None else validation_loss
        epochs.append(Epoch(number, train_loss, validation_loss, is_best=judged < best_loss))
        if judged < best_loss:
            best_loss, best_weights = judged, copy.deepcopy(network.state_dict())
        if on_epoch:
            on_epoch(epochs[-1])
        if number - max(epoch.number for epoch in epochs if epoch.is_best or epoch.number == 1) >= config.patience:
            break
    network.load_state_dict(best_weights)
    chosen_on = validation or training
    threshold = youden_threshold(
        predict(network, chosen_on, config, device), [item.votes >= config.good_votes for item in chosen_on]
    )
    name = "validation" if validation else "training"
    return Trained(network, epochs, threshold, f"Youden's index on {len(chosen_on)} {name} photos")


def coral_loss(logits: Tensor, votes: Tensor) -> Tensor:
    """The CORAL loss of the pooled cumulative probabilities: cross-entropy of each level, summed, mean over photos.

    Args:
        logits: (N, 5, K), of the patches.
        votes: int64 (N,), 0..K. Votes v become the levels [1]*v + [0]*(K-v).
    """
    cumulative, _ = pool_patches(logits)  # (N, K)
    n_levels = cumulative.shape[1]
    levels = (torch.arange(n_levels, device=votes.device) < votes.unsqueeze(1)).to(cumulative.dtype)  # (N, K)
    return F.binary_cross_entropy(cumulative, levels, reduction="none").sum(dim=1).mean()


@torch.inference_mode()
def mean_loss(
    network: OrdinalVGG16, items: Sequence[TrainingPhoto], config: TrainingConfig, device: torch.device
) -> float:
    """The mean CORAL loss over photos, without flips."""
    network.eval()
    total = 0.0
    for start in range(0, len(items), config.batch_photos):
        photos, votes = _batch(items[start : start + config.batch_photos], device)
        total += coral_loss(network(photos), votes).item() * len(votes)
    return total / len(items)


@torch.inference_mode()
def predict(
    network: OrdinalVGG16, items: Sequence[TrainingPhoto], config: TrainingConfig, device: torch.device
) -> list[float]:
    """P(votes >= good_votes) of each photo."""
    network.eval()
    scores: list[float] = []
    for start in range(0, len(items), config.batch_photos):
        photos, _ = _batch(items[start : start + config.batch_photos], device)
        scores += pool_patches(network(photos))[0][:, config.good_votes - 1].tolist()
    return scores


def youden_threshold(scores: Sequence[float], good: Sequence[bool]) -> float:
    """The score at which sensitivity + specificity - 1 is largest; a score at or above it is accepted.

    Source: Youden 1950, Index for rating diagnostic tests. One half where only one class is present.
    """
    n_good = sum(good)
    n_bad = len(good) - n_good
    if not n_good or not n_bad:
        return 0.5
    best, best_index = 0.5, -math.inf
    for threshold in sorted(set(scores)):
        accepted = [score >= threshold for score in scores]
        sensitivity = sum(a and g for a, g in zip(accepted, good, strict=True)) / n_good
        false_positives = sum(a and not g for a, g in zip(accepted, good, strict=True)) / n_bad
        if sensitivity - false_positives > best_index:
            best, best_index = threshold, sensitivity - false_positives
    return best


def _batch(items: Sequence[TrainingPhoto], device: torch.device) -> tuple[Tensor, Tensor]:
    photos = torch.stack([item.photo for item in items]).to(device)  # uint8 (N, 3, 448, 448)
    return photos, torch.tensor([item.votes for item in items], device=device)


def _flip(photos: Tensor, random: torch.Generator) -> Tensor:
    """Flips each photo left-right and top-bottom, each with a chance of one half."""
    horizontal, vertical = torch.rand(2, len(photos), 1, 1, 1, generator=random).to(photos.device) < 0.5
    photos = torch.where(horizontal, photos.flip(3), photos)
    return torch.where(vertical, photos.flip(2), photos)
