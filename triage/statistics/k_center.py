"""Diverse choices: no photos that are alike, or like those that are known already.

Axes: n photos, k chosen, f features, d principal components, s sampled photos.
"""

import math
from typing import Final

import numpy as np
from scipy.linalg import eigh
from scipy.spatial.distance import cdist

from triage.statistics.arrays import Bools, Floats, Ints

_COMPONENTS: Final = 64
_CONSTANT: Final = 1e-6
_SAMPLED: Final = 1000


def choose_diverse(values: Floats, features: Floats, candidates: Bools, k: int) -> tuple[Ints, Floats]:
    """Chooses photos greedily by value times distance to the nearest photo that is known or chosen, at most 1.

    Distances are in units of the median distance between nearest neighbours. So a photo like one that is known or
    chosen counts less, and no photo counts more for being unlike all others. Without that limit, and with equal values,
    it is the greedy k-center of Sener and Savarese 2018 (arXiv:1708.00489), which picks outliers.

    Args:
        values: (n,), 0 or more.
        features: (n, f).
        candidates: bool (n,); the others are known.
        k: how many to choose; all if there are fewer candidates.

    Returns:
        The rows in the order of choice, int64 (k,), and the distance of each at that time, (k,): infinite for the
        first if nothing is known.
    """
    points = principal_components(features)
    points = points / (_spacing(points) or 1.0)
    rows, known = np.flatnonzero(candidates), np.flatnonzero(~candidates)
    nearest = np.full(len(rows), np.inf)
    for center in known:
        nearest = np.minimum(nearest, _distances(points[rows], points[center]))
    left = np.ones(len(rows), dtype=np.bool_)
    chosen, distances = [], []
    for _ in range(min(k, len(rows))):
        best = int(np.where(left, values[rows] * nearest.clip(max=1), -1).argmax())
        left[best] = False
        chosen.append(rows[best])
        distances.append(nearest[best])
        nearest = np.minimum(nearest, _distances(points[rows], points[rows[best]]))
    return np.array(chosen, dtype=np.int64), np.array(distances)


def _spacing(points: Floats) -> float:
    """The median distance to the nearest other photo, of at most a thousand photos."""
    if len(points) < 2:
        return 0.0
    some = np.arange(0, len(points), math.ceil(len(points) / _SAMPLED))
    distances = cdist(points[some], points)  # (s, n)
    distances[np.arange(len(some)), some] = np.inf
    return float(np.median(distances.min(axis=1)))


def principal_components(features: Floats) -> Floats:
    """The largest principal components of standardised features, scaled to a mean squared length of 1: (n, d)."""
    centred = features - features.mean(axis=0)
    scale = centred.std(axis=0)
    standardised = centred[:, scale > _CONSTANT] / scale[scale > _CONSTANT]
    n, f = standardised.shape
    gram = standardised @ standardised.T if n <= f else standardised.T @ standardised  # the smaller of the two
    if not len(gram):
        return np.zeros((len(features), 1))
    sizes, vectors = eigh(gram, subset_by_index=[max(0, len(gram) - _COMPONENTS), len(gram) - 1])
    points: Floats = vectors * np.sqrt(sizes.clip(min=0)) if n <= f else standardised @ vectors
    scaled: Floats = points / np.sqrt(np.square(points).sum(axis=1).mean())
    return scaled


def _distances(points: Floats, center: Floats) -> Floats:
    distances: Floats = np.sqrt(np.square(points - center).sum(axis=1))  # (n, d) -> (n,)
    return distances
