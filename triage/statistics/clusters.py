"""Intervals when photos are not independent: photos of one patient are alike, so patients are resampled, not photos.

Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8, doi:10.1017/CBO9780511802843.

Axes: n photos, m photos of a resample, r resamples, s statistics.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np

from triage.statistics.arrays import Floats, Ints
from triage.statistics.confidence import CONFIDENCE, Interval

_FEWEST: Final = 0.5
"""The share of resamples in which the statistic must be defined."""


def cluster_intervals(
    statistics: Callable[[Ints], Sequence[float]],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> list[Interval | None]:
    """The percentile bootstrap 95 % intervals of some statistics; the same seed gives the same intervals.

    Args:
        statistics: from rows, int64 (m,), of which some may be repeated; NaN where one is not defined.
        clusters: of each of the n rows, such as the patient.
        n_resamples: how often as many clusters as there are get drawn, with replacement.
        seed: of the random numbers.

    Returns:
        An interval for each statistic; None if it is not defined in half of the resamples, if it is the same in all, or
        if there are fewer than two clusters.
    """
    by_cluster: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        by_cluster.setdefault(cluster, []).append(row)
    members = [np.array(rows, dtype=np.int64) for rows in by_cluster.values()]
    if len(members) < 2:
        return [None] * len(statistics(np.arange(len(clusters))))
    random = np.random.default_rng(seed)
    draws = (random.integers(0, len(members), len(members)) for _ in range(n_resamples))
    found = np.array([statistics(np.concatenate([members[i] for i in drawn])) for drawn in draws])  # (r, s)
    return [_interval(values[~np.isnan(values)], n_resamples) for values in found.T]


def cluster_interval_of_sums(
    statistic: Callable[[Floats], float | None],
    values: Floats,
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """As `cluster_intervals`, for a statistic of sums over photos: its time does not depend on the number of photos.

    Args:
        statistic: from the sums, float64 (s,); None where it is not defined.
        values: what each photo adds to the sums, (n, s).
        clusters: of each of the n rows.
        n_resamples: as for `cluster_intervals`.
        seed: as for `cluster_intervals`.
    """
    numbers: dict[Hashable, int] = {}
    number_of = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)  # (n,)
    m = len(numbers)
    if m < 2:
        return None
    sums = np.zeros((m, values.shape[1]))
    np.add.at(sums, number_of, values)
    random = np.random.default_rng(seed)
    draws = (np.bincount(random.integers(0, m, m), minlength=m) @ sums for _ in range(n_resamples))
    found = np.array([np.nan if (value := statistic(drawn)) is None else value for drawn in draws])  # (r,)
    return _interval(found[~np.isnan(found)], n_resamples)


def _interval(values: Floats, n_resamples: int) -> Interval | None:
    if len(values) < _FEWEST * n_resamples or values.min() == values.max():
        return None
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
