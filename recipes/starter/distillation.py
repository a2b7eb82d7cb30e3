"""First step: VGG16's convolutions learn the teacher's layers, one after another, without labels.

Each convolution is fitted by regression, least squares and then Adam, from the output of the convolutions before it to
the responses of one layer of the teacher at the same positions. Later convolutions so compensate for the errors of
earlier ones, and thirteen convolutions take minutes on a CPU; backpropagation through all of them would take days.
Hinton, Vinyals and Dean 2015, arXiv:1503.02531; by layers: Romero et al. 2015, FitNets, arXiv:1412.6550.

Axes: N crops, n crops of a batch, C channels, G the side of the teacher's grid, M samples of a regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.starter.photos import degrade_photo
from recipes.starter.teacher import SqueezeNet
from triage.imaging.degradation import Degradation
from triage.model.network import OrdinalVGG16

CROPS: Final = 600
_BATCH: Final = 16
_STEM_FILTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Lesson:
    """The target of a convolution: position i of the teacher's `layer` is its position stride * i + offset."""

    layer: str
    offset: int
    stride: int = 1


# by number of the convolution, from 0: 0 to 2 are the stem, and 11 passes on the output of 10
LESSONS: Final = {
    3: Lesson("squeeze2", offset=2, stride=2),
    4: Lesson("expand2", offset=1),
    5: Lesson("expand3", offset=1),
    6: Lesson("expand4", offset=1),
    7: Lesson("expand5", offset=1),
    8: Lesson("expand6", offset=1),
    9: Lesson("expand7", offset=1),
    10: Lesson("pool8", offset=1),
    12: Lesson("expand9", offset=1),
}


@torch.no_grad()
def distil(network: OrdinalVGG16, teacher: SqueezeNet, crops: Tensor) -> None:
    """Fits all convolutions of a network in place.

    Args:
        crops: uint8 (N, 3, 224, 224), RGB.
    """
    targets = _responses(teacher, crops)
    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    _fit_stem(convolutions, network, teacher, crops[:32])
    inputs = [(batch.float() - network.mean) / network.std for batch in crops.split(_BATCH)]
    n_inputs, number = _STEM_FILTERS, -1
    for layer in network.features:
        if isinstance(layer, nn.Conv2d):
            number += 1
            if number in LESSONS:
                lesson = LESSONS[number]
                n_inputs = _fit(layer, inputs, targets[lesson.layer], lesson, n_inputs)
                print(f"convolution {number + 1} has learned {lesson.layer}", flush=True)
            elif number > 2:
                _pass_on(layer, n_inputs)
        inputs = [layer(batch.float()).half() for batch in inputs]


def draw_crops(photos: Tensor) -> Tensor:
    """Random windows of 224 x 224, four in ten of them degraded, for the distillation."""
    random = np.random.default_rng(0)
    crops = []
    for index in random.choice(len(photos), CROPS, replace=False):
        photo = photos[index]
        if random.random() < 0.4:
            kind = tuple(Degradation)[random.integers(len(Degradation))]
            photo = degrade_photo(photo, kind, random.uniform(0.1, 1.0), int(random.integers(2**31)))
        top, left = random.integers(0, 225, 2)
        crops.append(photo[:, top : top + 224, left : left + 224])
    return torch.stack(crops)


def _responses(teacher: SqueezeNet, crops: Tensor) -> dict[str, Tensor]:
    responses: dict[str, list[Tensor]] = {}
    for batch in crops.split(_BATCH):
        for name, response in teacher.layers(batch.float()).items():
            responses.setdefault(name, []).append(response.half())
    return {name: torch.cat(batches) for name, batches in responses.items()}  # (n, C, G, G) each -> (N, C, G, G)


def _fit_stem(convolutions: Sequence[nn.Conv2d], network: OrdinalVGG16, teacher: SqueezeNet, crops: Tensor) -> None:
    """Two 3 x 3 convolutions replace the teacher's 7 x 7 one: the first unfolds, the second is fitted.

    The first gives the 27 values of each 3 x 3 patch, with positive and negative parts in separate channels, so that
    ReLU loses nothing. Of the 96 filters, the 64 with the largest variance are kept. The third convolution passes them
    on.
    """
    first, second, third = convolutions[:3]
    for layer in (first, second):
        layer.weight.zero_()
        layer.bias.zero_()  # type: ignore[union-attr]  # every convolution of VGG16 has a bias
    for value in range(27):
        channel, row, column = value // 9, value // 3 % 3, value % 3
        first.weight[2 * value, channel, row, column] = 1
        first.weight[2 * value + 1, channel, row, column] = -1
    photos = (crops.float() - network.mean) / network.std
    patches = F.unfold(photos, 5, padding=2)  # (n, 75, H*W)
    wanted = teacher.dense_filters(crops.float()).flatten(2)  # (n, 96, H*W)
    places = _inner_places(crops.shape[-1], margin=5)
    samples = _with_one(patches[:, :, places].transpose(1, 2).flatten(0, 1).double())  # (M, 76)
    responses = wanted[:, :, places].transpose(1, 2).flatten(0, 1).double()  # (M, 96)
    weights = _least_squares(samples, responses, ridge=1e-6)  # (76, 96)
    spread = F.relu(responses).std(dim=0)
    kept = spread.argsort(descending=True)[:_STEM_FILTERS]
    scale = F.relu(responses[:, kept]).pow(2).mean(dim=0).sqrt()
    kernels = (weights[:75, kept] / scale).T.reshape(_STEM_FILTERS, 3, 5, 5).float()
    second.bias.copy_((weights[75, kept] / scale).float())  # type: ignore[union-attr]
    for channel in range(3):
        for y in range(-2, 3):
            for x in range(
                -2, 3
            ):  # each tap of the 5 x 5 kernel is divided among the pairs of 3 x 3 taps that reach it
                ways = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if abs(y - a) <= 1 and abs(x - b) <= 1]
                tap = kernels[:, channel, y + 2, x + 2] / len(ways)
                for a, b in ways:
                    value = channel * 9 + (y - a + 1) * 3 + (x - b + 1)
                    second.weight[:, 2 * value, a + 1, b + 1] += tap
                    second.weight[:, 2 * value + 1, a + 1, b + 1] -= tap
    _pass_on(third, _STEM_FILTERS)


def _fit(layer: nn.Conv2d, inputs: Sequence[Tensor], wanted: Tensor, lesson: Lesson, n_inputs: int) -> int:
    """Fits the first outputs of a convolution to the teacher's layer, each scaled to a root mean square of 1.

    Args:
        inputs: batches (n, C, H, W), whose first `n_inputs` channels are fitted.
        wanted: (N, C', G, G).

    Returns:
        The number of fitted outputs, C'.
    """
    grid = wanted.shape[-1]
    samples, responses = [], []
    for batch, answers in zip(inputs, wanted.split(_BATCH), strict=True):
        places = torch.randint(0, grid * grid, (len(batch), 220 if grid > 20 else 120))
        rows, columns = places // grid, places % grid
        y, x = rows * lesson.stride + lesson.offset, columns * lesson.stride + lesson.offset
        padded = F.pad(batch[:, :n_inputs].float(), (1, 1, 1, 1))
        n = torch.arange(len(batch)).view(-1, 1)
        taps = [padded[n, :, y + dy, x + dx] for dy in range(3) for dx in range(3)]  # 9 of (n, places, C)
        samples.append(torch.stack(taps, dim=-1).flatten(0, 1).flatten(1).half())  # (n*places, C*9)
        responses.append(answers.float()[n, :, rows, columns].flatten(0, 1))  # (n*places, C')
    x_all, y_all = torch.cat(samples), torch.cat(responses)
    y_all /= y_all.pow(2).mean(dim=0).sqrt().clamp_min(1e-3)
    weights = _descend(_least_squares_in_parts(x_all, y_all), x_all, y_all)
    n_outputs = wanted.shape[1]
    layer.weight[:n_outputs] = 0
    layer.weight[:n_outputs, :n_inputs] = weights[:-1].T.reshape(n_outputs, n_inputs, 3, 3)
    layer.bias[:n_outputs] = weights[-1]  # type: ignore[index]
    return n_outputs


@torch.enable_grad()
def _descend(start: Tensor, samples: Tensor, responses: Tensor, *, steps: int = 900, batch: int = 1024) -> Tensor:
    """Improves the least-squares solution by Adam, with ReLU."""
    weights = nn.Parameter(start.clone())
    optimiser = torch.optim.Adam([weights])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=6e-4, total_steps=steps)
    for _ in range(steps):
        chosen = torch.randint(0, len(samples), (batch,))
        predicted = F.relu(samples[chosen].float() @ weights[:-1] + weights[-1])
        loss = F.mse_loss(predicted, responses[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return weights.detach()


def _least_squares_in_parts(samples: Tensor, responses: Tensor) -> Tensor:
    n = samples.shape[1] + 1
    gram, moments = torch.zeros(n, n), torch.zeros(n, responses.shape[1])
    for x, y in zip(samples.split(8192), responses.split(8192), strict=True):
        part = _with_one(x.float())
        gram += part.T @ part
        moments += part.T @ y
    weights: Tensor = torch.linalg.solve(gram + 1e-3 * torch.diag(gram.diag()) + 1e-6 * torch.eye(n), moments)
    return weights


def _least_squares(samples: Tensor, responses: Tensor, *, ridge: float) -> Tensor:
    gram = samples.T @ samples
    weights: Tensor = torch.linalg.solve(gram + ridge * torch.diag(gram.diag()), samples.T @ responses)
    return weights


def _with_one(samples: Tensor) -> Tensor:
    return torch.cat([samples, torch.ones(len(samples), 1, dtype=samples.dtype)], dim=1)


def _inner_places(side: int, *, margin: int, count: int = 4000) -> Tensor:
    places = torch.randint(0, side * side, (count,))
    rows, columns = places // side, places % side
    inside = (rows >= margin) & (rows < side - margin) & (columns >= margin) & (columns < side - margin)
    return places[inside]


def _pass_on(layer: nn.Conv2d, n: int) -> None:
    """Sets the first n outputs of a convolution to its first n inputs."""
    layer.weight[:n] = 0
    layer.bias[:n] = 0  # type: ignore[index]
    for channel in range(n):
        layer.weight[channel, channel, 1, 1] = 1
