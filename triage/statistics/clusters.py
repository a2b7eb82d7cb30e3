"""Intervals when photos are not independent: photos of one patient are alike, so patients are resampled, not photos.

Davison and Hinkley 1997, Bootstrap Methods and their Application, section 3.8, doi:10.1017/CBO9780511802843.

Axes: n photos, m photos of a resample.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np

from triage.statistics.arrays import Ints
from triage.statistics.confidence import CONFIDENCE, Interval

_FEWEST: Final = 0.5
"""The share of resamples in which the statistic must be defined."""


def cluster_interval(
    statistic: Callable[[Ints], float | None],
    clusters: Sequence[Hashable],
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """The percentile bootstrap 95 % interval of a statistic; the same seed gives the same interval.

    Args:
        statistic: from rows, int64 (m,), of which some may be repeated; None where it is not defined.
        clusters: of each of the n rows, such as the patient.
        n_resamples: how often as many clusters as there are get drawn, with replacement.
        seed: of the random numbers.

    Returns:
        None if there are fewer than two clusters, or the statistic is not defined in half of the resamples.
    """
    by_cluster: dict[Hashable, list[int]] = {}
    for row, cluster in enumerate(clusters):
        by_cluster.setdefault(cluster, []).append(row)
    if len(by_cluster) < 2:
        return None
    members = [np.array(rows, dtype=np.int64) for rows in by_cluster.values()]
    random = np.random.default_rng(seed)
    draws = (random.integers(0, len(members), len(members)) for _ in range(n_resamples))
    found = [value for drawn in draws if (value := statistic(np.concatenate([members[i] for i in drawn]))) is not None]
    if len(found) < _FEWEST * n_resamples:
        return None
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
