"""Stratified resampling, with replacement within the good and within the bad photos, in bounded memory.

Photos of equal score form a group, and a resample is the number of times that each group was drawn, which suffices for
statistics of the order of scores. With more than `MAX_GROUPS` distinct scores, neighbouring scores share a group, so
that the cost no longer grows with the number of photos.

Axes: n photos, k groups, r resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from triage.statistics.arrays import Bools, Floats, Ints

MAX_GROUPS: Final = 1000
_CHUNK: Final = 200  # resamples in memory at a time: a few MB with 1,000 groups


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The numbers of good and bad photos in each group, in ascending order of score.

    Attributes:
        good: int64 (k,).
        bad: int64 (k,).
        accepted: bool (k,), true where the group's scores are at or above the threshold.
    """

    good: Ints
    bad: Ints
    accepted: Bools

    @property
    def auc(self) -> float:
        return float(aucs(self.good[np.newaxis], self.bad[np.newaxis])[0])


def group_scores(scores: Floats, good: Bools, threshold: float = np.inf) -> Groups:
    """Groups equal scores, and neighbouring scores where there are many, but never across the threshold.

    Args:
        scores: float64 (n,), finite, n >= 1.
        good: bool (n,).
        threshold: a score at or above it is accepted.
    """
    values, inverse, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    n_good = np.bincount(inverse, weights=good, minlength=len(values)).astype(np.int64)
    accepted = values >= threshold
    if len(values) > MAX_GROUPS:
        n_below = np.cumsum(sizes) - sizes
        group = n_below * (MAX_GROUPS - 1) // len(scores) + accepted  # + 1 where accepted: no group spans the threshold
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        n_good, sizes, accepted = np.add.reduceat(n_good, starts), np.add.reduceat(sizes, starts), accepted[starts]
    return Groups(n_good, sizes - n_good, accepted)


def draw(groups: Groups, n_good: int, n_bad: int, n_resamples: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Draws resamples of `n_good` good and `n_bad` bad photos.

    Yields:
        int64 (r, k) and (r, k): how often the good and the bad photos of each group were drawn.
    """
    random = np.random.default_rng(seed)
    share_good, share_bad = (counts / counts.sum() for counts in (groups.good, groups.bad))
    for start in range(0, n_resamples, _CHUNK):
        size = min(_CHUNK, n_resamples - start)
        yield random.multinomial(n_good, share_good, size), random.multinomial(n_bad, share_bad, size)


def aucs(good: Ints, bad: Ints) -> Floats:
    """The AUC of each resample; equal scores count one half.

    Args:
        good: int64 (r, k), in ascending order of score.
        bad: int64 (r, k).

    Returns:
        float64 (r,).
    """
    n_lower = bad.cumsum(axis=1) - 0.5 * bad  # (r, k)
    wins: Floats = (good * n_lower).sum(axis=1)  # (r, k) -> (r,)
    areas: Floats = wins / (good.sum(axis=1) * bad.sum(axis=1))  # (r,)
    return areas
