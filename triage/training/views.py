"""The views of photos that a contrastive pretraining compares, and their classes.

A class is a kind of degradation with its level. Each unchanged photo is its own class, because its
flaws are not known. So the classes are those of the degradations, then one for each photo.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from triage.imaging.degradation import Degradation, degrade
from triage.model.patches import PATCH_SIDE, PHOTO_SIDE

DEGRADED: Final = tuple(product(Degradation, (0.2, 0.4, 0.6, 0.8, 1.0)))
"""The classes of degraded photos: a kind and a strength."""

Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Batch:
    """Photos to learn from together.

    Attributes:
        rows: of the photos, (n,).
        degraded: the index in `DEGRADED` of each photo's degraded copy, (n,).
        seeds: for the cut, the flips and the noise of each photo, (n,).
    """

    rows: NDArray[np.int64]
    degraded: NDArray[np.int64]
    seeds: NDArray[np.int64]

    @property
    def classes(self) -> Tensor:
        """The classes of the views: int64 (n, 4)."""
        own = len(DEGRADED) + self.rows
        return torch.from_numpy(np.stack([own, own, self.degraded, self.degraded], axis=1))


def plan_epoch(n_photos: int, photos_each: int, *, seed: int, number: int) -> list[Batch]:
    """Draws the batches of an epoch. Each photo is in one of them.

    In a batch, two photos or more have the same degradation, as far as possible: they have nothing else in common.

    Args:
        n_photos: of the set.
        photos_each: photos in the largest batch; the sizes differ by one at most.
        seed: of the run.
        number: of the epoch. The batches follow from both.
    """
    random = np.random.default_rng([seed, number])
    n_batches = -(-n_photos // photos_each)
    batches = []
    for rows in np.array_split(random.permutation(n_photos), n_batches):
        different = random.permutation(len(DEGRADED))[: max(1, len(rows) // 2)]
        degraded = random.permutation(np.resize(different, len(rows)))
        batches.append(Batch(rows, degraded, random.integers(0, 2**32, len(rows))))
    return batches


def views_of(photo: Pixels, degraded: int, seed: int) -> Pixels:
    """The four views of a photo: itself at full and half scale, and its degraded copy at both.

    At full scale a view is a quarter of the photo at a random place, as the network sees it in scoring. At half scale
    it is the whole photo.

    Args:
        photo: uint8 (3, 448, 448).
        degraded: index in `DEGRADED`.
        seed: of the place, the flips and the noise.

    Returns:
        uint8 (4, 3, 224, 224).
    """
    random = np.random.default_rng(seed)
    image = Image.fromarray(np.ascontiguousarray(photo.transpose(1, 2, 0)))
    kind, strength = DEGRADED[degraded]
    copy = np.asarray(degrade(image, kind, strength, seed)).transpose(2, 0, 1)  # (3, 448, 448)
    views = []
    for pixels in (photo, copy):
        for axis in (1, 2):
            if random.random() < 0.5:
                pixels = np.flip(pixels, axis)
        top, left = random.integers(0, PHOTO_SIDE - PATCH_SIDE + 1, 2)
        views.append(pixels[:, top : top + PATCH_SIDE, left : left + PATCH_SIDE])
        quarters = pixels.reshape(3, PATCH_SIDE, 2, PATCH_SIDE, 2)
        views.append(quarters.mean(axis=(2, 4)).round().astype(np.uint8))
    return np.stack(views)


def read_batches(photos: Pixels, batches: list[Batch], threads: int) -> Iterator[Tensor]:
    """Makes the views of each batch, one batch ahead of the caller.

    Args:
        photos: uint8 (N, 3, 448, 448), may be mapped from a file.
        batches: from `plan_epoch`.
        threads: photos at the same time; their number does not change the result.

    Yields:
        uint8 (n, 4, 3, 224, 224), on the CPU.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="views") as pool:

        def begin(batch: Batch) -> Iterator[Pixels]:
            return pool.map(views_of, photos[batch.rows], batch.degraded.tolist(), batch.seeds.tolist())

        ahead = begin(batches[0])
        for following in [*batches[1:], None]:
            current = ahead
            if following is not None:
                ahead = begin(following)
            yield torch.from_numpy(np.stack(list(current)))
