"""Second step: the last three convolutions and the CORAL head learn from votes, and to rank degraded photos.

Votes are learned as in the paper, by the CORAL loss on the pooled patches; ranking by a hinge loss on neighbours in a
series of increasing degradation (Liu, van de Weijer and Bagdanov 2017, RankIQA, doi:10.1109/ICCV.2017.118). The
features of the ten lower convolutions are computed once, in bfloat16.

Axes: N rated photos, M series, n patches of a batch.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.starter.photos import RatedPhotos, draw_skin, series, vary_tones
from triage.dataset.manifest import Split
from triage.imaging.degradation import Degradation
from triage.model.coral import coral_loss
from triage.model.network import OrdinalVGG16
from triage.model.patches import N_PATCHES, five_patches

_LOWER: Final = 24  # layers up to the fourth pooling
_KINDS: Final = tuple(Degradation)
_GOOD: Final = 1  # index of P(votes >= 2)


@dataclass(frozen=True, slots=True)
class FinetuningConfig:
    epochs: int = 16
    steps_per_epoch: int = 48
    photos_per_step: int = 12
    patches_per_photo: int = 3
    copies_per_step: int = 0
    series_per_step: int = 8
    series_per_photo: int = 2
    drawn_per_tone: int = 15
    learning_rate: float = 3e-5
    head_learning_rate: float = 6e-6
    bias_learning_rate: float = 1e-4
    weight_decay: float = 0.02
    rank_weight: float = 1.5
    rank_margin: float = 0.35
    anchor_weight: float = 0.2
    kind_weight: float = 0.0
    kind_learning_rate: float = 1e-3
    averaging: float = 0.985
    seed: int = 1


def _no_copies() -> NDArray[np.float16]:
    return np.zeros((0, 2, 512, 14, 14), np.float16)


@dataclass(frozen=True, slots=True)
class SeriesFeatures:
    """The features of the lower convolutions of M photos and of three degradations of each.

    Attributes:
        patches: float16 (M, 4, 2, 512, 14, 14), two patches of each photo.
        kinds: int64 (M,), the place of each series' degradation in `Degradation`.
    """

    patches: NDArray[np.float16]
    kinds: Tensor


@dataclass(frozen=True, slots=True)
class LowerFeatures:
    """The features of the lower convolutions, float16.

    Attributes:
        rated: (1 or 2, N, 5, 512, 14, 14): the training photos, as they are and perhaps flipped left-right.
        expected_votes: float32 (N,).
        series: of M photos and their degradations.
        copies: (C, 2, 512, 14, 14): altered copies of training photos, two patches each.
        copies_votes: float32 (C,), the expected votes that another model gives them.
    """

    rated: NDArray[np.float16]
    expected_votes: Tensor
    series: SeriesFeatures
    copies: NDArray[np.float16] = field(default_factory=_no_copies)
    copies_votes: Tensor = field(default_factory=lambda: torch.zeros(0))


def lower_features(network: OrdinalVGG16, rated: RatedPhotos, skin: Tensor, config: FinetuningConfig) -> LowerFeatures:
    """Computes the features of the rated training photos, and of series from photos of skin, drawn and good photos."""
    random = np.random.default_rng(config.seed)
    training = rated.of(Split.TRAIN)
    photos = rated.photos[training]
    of_rated = np.stack([features_of(network, photos), features_of(network, photos.flip(3))])
    well_rated = photos[rated.votes[training] >= 3]
    of_series = series_features(network, originals_of_series(skin, well_rated, config, random), config, random)
    return LowerFeatures(of_rated, rated.expected_votes[training], of_series)


def features_of(network: OrdinalVGG16, photos: Tensor) -> NDArray[np.float16]:
    """The features of all patches of photos, uint8 (N, 3, 448, 448): (N, 5, 512, 14, 14)."""
    found = np.empty((len(photos), N_PATCHES, 512, 14, 14), np.float16)
    for index, photo in enumerate(photos):
        found[index] = lower_convolutions(network, five_patches(photo[None])[0])
    return found


def originals_of_series(
    skin: Tensor, well_rated: Tensor, config: FinetuningConfig, random: np.random.Generator
) -> Tensor:
    """The photos that series begin with: skin in several tones, drawn skin and 120 well rated photos."""
    chosen = torch.from_numpy(random.permutation(len(well_rated))[:120])
    drawn = torch.cat(list(draw_skin(range(config.drawn_per_tone)).values()))
    return torch.cat([vary_tones(skin, random), drawn, well_rated[chosen]])


def series_features(
    network: OrdinalVGG16, originals: Tensor, config: FinetuningConfig, random: np.random.Generator
) -> SeriesFeatures:
    """The features of series, each of a random kind."""
    found = np.empty((len(originals) * config.series_per_photo, 4, 2, 512, 14, 14), np.float16)
    kinds_found = np.empty(len(found), np.int64)
    for index, photo in enumerate(originals):
        kinds = random.choice(len(_KINDS), config.series_per_photo, replace=False)
        for number, kind in enumerate(kinds):
            photos_of_series = series(photo, _KINDS[kind], random, jitter=0.05)  # (4, 3, 448, 448)
            windows = five_patches(photos_of_series)[:, random.choice(N_PATCHES, 2, replace=False)]
            row = index * config.series_per_photo + number
            found[row] = lower_convolutions(network, windows.flatten(0, 1)).reshape(4, 2, 512, 14, 14)
            kinds_found[row] = kind
        if index % 100 == 0:
            print(f"features of series {index} of {len(originals)}", flush=True)
    return SeriesFeatures(found, torch.from_numpy(kinds_found))


def finetune(network: OrdinalVGG16, features: LowerFeatures, config: FinetuningConfig) -> None:
    """Trains the upper convolutions and the head in place. The result is an exponential average over the steps.

    With `kind_weight` a second head, which is dropped afterwards, learns to name the degradation of each photo of a
    series, or none.
    """
    random = np.random.default_rng(config.seed)
    upper = network.features[_LOWER:]
    head = network.head
    levels, copies_levels = soft_levels(features.expected_votes), soft_levels(features.copies_votes)  # (N, 4), (C, 4)
    fit_head(network, features)
    groups: list[dict[str, Any]] = [
        {"params": list(upper.parameters()), "lr": config.learning_rate},
        {"params": [head.weight], "lr": config.head_learning_rate},
        {"params": [head.bias], "lr": config.bias_learning_rate},
    ]
    of_kind = nn.Linear(512, len(_KINDS) + 1)  # the last output stands for an unchanged photo
    if config.kind_weight:
        groups.append({"params": list(of_kind.parameters()), "lr": config.kind_learning_rate})
    trained: list[nn.Parameter] = [weights for group in groups for weights in group["params"]]
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],
        total_steps=config.epochs * config.steps_per_epoch,
        pct_start=0.15,
    )
    average = copy.deepcopy([weights.detach() for weights in trained])
    n_photos, n_patches = config.photos_per_step, config.patches_per_photo
    for epoch in range(1, config.epochs + 1):
        order = random.permutation(len(levels))
        losses = np.zeros(2)
        for step in range(config.steps_per_epoch):
            photos = np.sort(order[step * n_photos : (step + 1) * n_photos])
            flip = int(random.integers(len(features.rated)))
            patches = np.stack(
                [features.rated[flip, photo, random.choice(N_PATCHES, n_patches, replace=False)] for photo in photos]
            )
            chosen = np.sort(random.choice(len(features.series.patches), config.series_per_step, replace=False))
            of_series = features.series.patches[chosen, :, int(random.integers(2))]
            copied = np.zeros(0, np.int64)
            if config.copies_per_step:
                copied = random.choice(len(features.copies), config.copies_per_step, replace=False)
            parts = [_flat(patches), _flat(features.copies[copied]), _flat(of_series)]
            responses = _upper(upper, np.concatenate(parts))  # (n, 512, 7, 7)
            latents = (responses.flatten(1) @ head.weight).split([len(part) for part in parts])
            ranked = latents[2].view(-1, 4)  # (n,) -> (series, 4)
            votes_loss = _votes_loss(head.bias, latents[0].view(-1, n_patches), levels[photos])
            if config.copies_per_step:
                votes_loss = votes_loss + _votes_loss(head.bias, latents[1].view(-1, 2), copies_levels[copied])
            falls = ranked[:, :-1] - ranked[:, 1:]
            rank_loss = F.relu(config.rank_margin - falls).mean()
            ends = torch.sigmoid(ranked[:, [0, -1]] + head.bias[_GOOD])  # the original and its strongest degradation
            anchor_loss = F.binary_cross_entropy(ends, torch.tensor([0.85, 0.15]).expand_as(ends))
            loss = votes_loss + config.rank_weight * rank_loss + config.anchor_weight * anchor_loss
            if config.kind_weight:
                named = of_kind(responses[-ranked.numel() :].mean(dim=(2, 3)))  # (4 * series, kinds + 1)
                loss = loss + config.kind_weight * F.cross_entropy(named, _kinds_of(features.series.kinds[chosen]))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 2.0)
            optimiser.step()
            schedule.step()
            head.order_biases()
            with torch.no_grad():
                for kept, weights in zip(average, trained, strict=True):
                    kept.lerp_(weights, 1 - config.averaging)
            losses += np.array([votes_loss.item(), rank_loss.item()]) / config.steps_per_epoch
        print(f"epoch {epoch}: votes {losses[0]:.3f}, ranking {losses[1]:.3f}", flush=True)
    with torch.no_grad():
        for kept, weights in zip(average, trained, strict=True):
            weights.copy_(kept)
        head.order_biases()


@torch.no_grad()
def pooled_from(network: OrdinalVGG16, lower: NDArray[np.float16]) -> NDArray[np.float32]:
    """The mean of each channel of the last convolutions, (n, 512), by the features of patches, (n, P, 512, 14, 14)."""
    upper = network.features[_LOWER:]
    return np.stack([_upper(upper, patches).mean(dim=(0, 2, 3)).numpy() for patches in lower])


@torch.no_grad()
def scores_from(network: OrdinalVGG16, lower: NDArray[np.float16]) -> NDArray[np.float64]:
    """P(votes >= 2) of photos by the features of their patches, (n, P, 512, 14, 14)."""
    upper, head = network.features[_LOWER:], network.head
    latents = [_latent(upper, head.weight, patches) for patches in lower]
    return np.array([torch.sigmoid(patches + head.bias[_GOOD]).mean().item() for patches in latents])


def soft_levels(expected_votes: Tensor) -> Tensor:
    """Targets for the four cumulative probabilities: with 2.4 expected votes, the third level is 0.4.

    Args:
        expected_votes: (N,), 0..4.

    Returns:
        (N, 4), in [0.015, 0.985].
    """
    reached = (expected_votes.unsqueeze(1) - torch.arange(4.0)).clamp(0, 1)  # (N, 1) - (4,) -> (N, 4)
    return 0.97 * reached + 0.015


def fit_head(network: OrdinalVGG16, features: LowerFeatures) -> None:
    """Initialises the head: one weight for each channel, equal at all 49 positions, fitted to the votes by L-BFGS."""
    upper = network.features[_LOWER:]
    levels = soft_levels(features.expected_votes)
    with torch.no_grad():
        pooled = torch.stack([_upper(upper, photo).mean(dim=(2, 3)) for photo in features.rated[0]])  # (N, 5, 512)
    mean, deviation = pooled.mean(dim=(0, 1)), pooled.std(dim=(0, 1)) + 1e-3
    pooled = (pooled - mean) / deviation
    weights, bias = nn.Parameter(torch.zeros(512)), nn.Parameter(torch.linspace(2, -2, 4))
    optimiser = torch.optim.LBFGS([weights, bias], max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = coral_loss(torch.sigmoid((pooled @ weights).unsqueeze(-1) + bias).mean(dim=1), levels)
        loss = loss + 0.03 * weights.pow(2).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        raw = weights / deviation
        network.head.weight.copy_((raw / 49).repeat_interleave(49))
        network.head.bias.copy_(bias - (mean * raw).sum())


def _votes_loss(bias: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
    """The CORAL loss on the mean of the patches' probabilities. `latents`: (photos, patches)."""
    return coral_loss(torch.sigmoid(latents.unsqueeze(-1) + bias).mean(dim=1), levels)


def _kinds_of(kinds: Tensor) -> Tensor:
    """The class of each photo of series: none for the photo itself, then the kind three times. (n,) -> (4 * n,)."""
    none = torch.full_like(kinds, len(_KINDS))
    return torch.stack([none, kinds, kinds, kinds], dim=1).flatten()


def _latent(upper: nn.Module, weight: Tensor, lower: NDArray[np.float16]) -> Tensor:
    latent: Tensor = _upper(upper, lower).flatten(1) @ weight  # (n, 25088) -> (n,)
    return latent


def _flat(patches: NDArray[np.float16]) -> NDArray[np.float16]:
    return patches.reshape(-1, *patches.shape[-3:])


def _upper(upper: nn.Module, lower: NDArray[np.float16]) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(lower)).float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        response: Tensor = upper(x)
    return response.float()


@torch.inference_mode()
def lower_convolutions(network: OrdinalVGG16, patches: Tensor) -> NDArray[np.float16]:
    """The output of the ten lower convolutions for patches, (n, 3, 224, 224): (n, 512, 14, 14)."""
    x = ((patches - network.mean) / network.std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        response: Tensor = network.features[:_LOWER](x)
    return response.half().contiguous().numpy()
