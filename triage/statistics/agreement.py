"""The agreement of reviewers, which limits the accuracy that any model can reach on their labels.

Axes: N photos, R reviewers, K distinct ratings.
"""

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from triage.statistics.arrays import Bools, Floats
from triage.statistics.clusters import cluster_interval_of_sums
from triage.statistics.confidence import Interval

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: ArrayLike, level: Level = "nominal") -> float | None:
    """Krippendorff's alpha: 1 for perfect agreement, 0 for agreement by chance.

    Krippendorff 2011, Computing Krippendorff's alpha-reliability. Photos with fewer than two ratings are left out.
    Memory grows with N * K and K * K, so ratings should be a few grades, not measurements.

    Args:
        ratings: (N, R), NaN where a reviewer did not rate a photo.
        level: of measurement: nominal (equal or not), ordinal (grades) or interval (numbers).

    Returns:
        At most 1; None if no photo has two ratings, or all ratings are equal.

    Raises:
        ValueError: the ratings do not have two axes, or one is infinite.
    """
    table = _checked(ratings)
    values = np.unique(table[~np.isnan(table)])
    counts = (table[:, :, np.newaxis] == values).sum(axis=1).astype(np.float64)  # (N, R, K) -> (N, K)
    counts = counts[counts.sum(axis=1) >= 2]  # (N, K) of the photos with at least two ratings
    weighted = counts / (counts.sum(axis=1, keepdims=True) - 1)  # (N, K)
    coincidences = counts.T @ weighted - np.diag(weighted.sum(axis=0))  # (K, K)
    return _alpha(coincidences, values, level)


def alpha_with_interval(votes: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float | None, Interval | None]:
    """`krippendorff_alpha` of yes and no votes, with its 95 % interval by resampling clusters such as patients.

    Args:
        votes: (N, R), 1, 0 or NaN.
        clusters: of each of the N photos.

    Raises:
        ValueError: as `krippendorff_alpha`.
    """
    table = _checked(votes)
    values = np.array([0.0, 1.0])
    counts = (table[:, :, np.newaxis] == values).sum(axis=1).astype(np.float64)  # (N, 2)
    weighted = counts / np.maximum(counts.sum(axis=1, keepdims=True) - 1, 1)
    pairs = counts[:, :, np.newaxis] * weighted[:, np.newaxis] - weighted[:, :, np.newaxis] * np.eye(2)  # (N, 2, 2)
    pairs[counts.sum(axis=1) < 2] = 0

    def statistic(sums: Floats) -> float | None:
        return _alpha(sums.reshape(2, 2), values, "nominal")

    return statistic(pairs.sum(axis=0)), cluster_interval_of_sums(statistic, pairs.reshape(-1, 4), clusters)


def kappa_with_interval(votes: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float | None, Interval | None]:
    """Cohen's kappa of the yes and no votes of two reviewers, with its interval as in `alpha_with_interval`.

    Args:
        votes: (N, 2), 1 or 0.
        clusters: of each of the N photos.

    Raises:
        ValueError: as `pairwise_kappa`.
    """
    table = _checked(votes)
    first, second = np.eye(2)[table[:, 0].astype(np.int64)], np.eye(2)[table[:, 1].astype(np.int64)]  # (N, 2)
    cells = first[:, :, np.newaxis] * second[:, np.newaxis]  # (N, 2, 2)

    def statistic(sums: Floats) -> float | None:
        cell = sums.reshape(2, 2)
        n = cell.sum()
        expected = cell.sum(axis=0) @ cell.sum(axis=1) / n**2 if n else 1.0
        return None if expected == 1 else float((np.trace(cell) / n - expected) / (1 - expected))

    return statistic(cells.sum(axis=0)), cluster_interval_of_sums(statistic, cells.reshape(-1, 4), clusters)


def _alpha(coincidences: Floats, values: Floats, level: Level) -> float | None:
    """Alpha of a coincidence matrix (K, K) of the K values; None if chance alone agrees."""
    totals = coincidences.sum(axis=1)  # (K,)
    distances = _DISTANCES[level](values, totals)  # (K, K)
    expected = float(totals @ distances @ totals)
    if expected == 0:
        return None
    return 1 - (float(totals.sum()) - 1) * float((coincidences * distances).sum()) / expected


def are_unanimous(ratings: Floats) -> Bools:
    """Whether all who rated a photo rated it alike: from (N, R), NaN where a reviewer did not, to bool (N,)."""
    alike: Bools = np.nanmin(ratings, axis=1) == np.nanmax(ratings, axis=1) if len(ratings) else np.zeros(0, dtype=bool)
    return alike


def quadratic_kappa(predicted: ArrayLike, given: ArrayLike) -> float | None:
    """Cohen's kappa with quadratic weights: a grade that is off by two costs four times as much as one off by one.

    Cohen 1968, Weighted kappa, doi:10.1037/h0026256.

    Args:
        predicted: grades (N,).
        given: grades (N,).

    Returns:
        At most 1; None if all grades are equal, or there is none.

    Raises:
        ValueError: the shapes differ, or a grade is not finite.
    """
    a, b = np.asarray(predicted, dtype=np.float64), np.asarray(given, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"grades {a.shape} and {b.shape} must be finite and of the same shape (n,)")
    if not len(a):
        return None
    expected = float((a**2).mean() + (b**2).mean() - 2 * a.mean() * b.mean())  # the mean over all pairs of (a - b)^2
    return None if expected == 0 else 1 - float(((a - b) ** 2).mean()) / expected


def pairwise_kappa(ratings: ArrayLike) -> dict[tuple[int, int], float | None]:
    """Cohen's kappa of each pair of reviewers, over the photos that both rated.

    Cohen 1960, A coefficient of agreement for nominal scales, doi:10.1177/001316446002000104.

    Args:
        ratings: (N, R), NaN where a reviewer did not rate a photo.

    Returns:
        Kappa by the two reviewers' columns, the lower first. None if they share no photo, or rated all photos alike.

    Raises:
        ValueError: the ratings do not have two axes, or one is infinite.
    """
    table = _checked(ratings)
    return {(a, b): _kappa(table[:, a], table[:, b]) for a, b in combinations(range(table.shape[1]), 2)}


def _checked(ratings: ArrayLike) -> Floats:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise ValueError(f"ratings must be finite or NaN and have the shape (photos, reviewers), not {table.shape}")
    return table


def _kappa(a: Floats, b: Floats) -> float | None:
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    values = np.unique(np.concatenate([a, b]))
    if len(values) < 2:  # no photo, or a single rating: chance agreement is 1 and kappa is not defined
        return None
    observed = float((a == b).mean())
    expected = float(sum((a == value).mean() * (b == value).mean() for value in values))
    return (observed - expected) / (1 - expected)


def _nominal(values: Floats, totals: Floats) -> Floats:  # noqa: ARG001  # the distances share a signature
    return 1 - np.eye(len(values))


def _ordinal(values: Floats, totals: Floats) -> Floats:  # noqa: ARG001  # the distances share a signature
    middle = np.cumsum(totals) - totals / 2  # the mean rank of each grade's ratings
    squared: Floats = (middle[:, np.newaxis] - middle) ** 2
    return squared


def _interval(values: Floats, totals: Floats) -> Floats:  # noqa: ARG001  # the distances share a signature
    squared: Floats = (values[:, np.newaxis] - values) ** 2
    return squared


_DISTANCES: Final[dict[Level, Callable[[Floats, Floats], Floats]]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
