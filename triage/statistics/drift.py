"""Whether two samples come from the same distribution, and how far they are apart.

Source of the measures: docs/decisions/0034-find-drift-with-a-stated-false-alarm-rate.md

Axes: n and m, the independent members of the two samples.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from triage.statistics.arrays import Floats

Key = TypeVar("Key", bound=Hashable)

_BINS: Final = 10
_SMALLEST_EXPECTED: Final = 5
_SMOOTHING: Final = 0.5


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Attributes:
        psi: population stability index: below 0.1 small, above 0.25 large (Siddiqi 2006, Credit Risk Scorecards).
        p_value: how likely a difference at least this large is if nothing changed.
    """

    psi: float
    p_value: float


def compare_scores(reference: ArrayLike, current: ArrayLike) -> Comparison:
    """Compares two samples of numbers: Kolmogorov and Smirnov's test, and the index over tenths of the reference.

    The p-value is the asymptotic one with Stephens' correction for small samples: Stephens 1970, Use of the
    Kolmogorov-Smirnov, Cramer-Von Mises and related statistics without extensive tables,
    doi:10.1111/j.2517-6161.1970.tb00821.x.

    Args:
        reference: (n,), n > 0.
        current: (m,), m > 0.
    """
    old, new = np.sort(np.asarray(reference, np.float64)), np.sort(np.asarray(current, np.float64))
    values = np.concatenate([old, new])
    distance = np.abs(_shares_up_to(values, old) - _shares_up_to(values, new)).max()
    n = math.sqrt(len(old) * len(new) / (len(old) + len(new)))
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    counts = [np.bincount(np.searchsorted(edges, each), minlength=len(edges) + 1) for each in (old, new)]
    return Comparison(_psi(*counts), _kolmogorov((n + 0.12 + 0.11 / n) * distance))


def compare_categories(reference: Sequence[Hashable], current: Sequence[Hashable]) -> Comparison:
    """Compares two samples of categories: Pearson's chi-squared test of homogeneity, and the index.

    Categories of which fewer than 5 members are expected in a sample are counted as one, as the test requires. With one
    category left, the p-value is 1.

    Args:
        reference: n > 0 members.
        current: m > 0 members.
    """
    old, new = Counter(reference), Counter(current)
    names = sorted(old.keys() | new.keys(), key=repr)
    table = np.array([[counts[name] for name in names] for counts in (old, new)], np.float64)  # (2, categories)
    merged = _without_rare(table)
    expected = merged.sum(axis=1, keepdims=True) * merged.sum(axis=0) / merged.sum()  # (2, categories)
    statistic = float(((merged - expected) ** 2 / expected).sum())
    return Comparison(_psi(*table), _chi_squared(statistic, merged.shape[1] - 1))


def adjust(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusts p-values for their number: if nothing changed, one of them is at most a with a probability of at most a.

    Holm 1979, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6. It holds
    whatever the dependence between the tests.
    """
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_value))
        adjusted[key] = largest
    return adjusted


def _shares_up_to(values: Floats, ordered: Floats) -> Floats:
    shares: Floats = np.searchsorted(ordered, values, side="right") / len(ordered)
    return shares


def _psi(old: ArrayLike, new: ArrayLike) -> float:
    """The population stability index of counts; an empty bin counts as half a member."""
    a, b = (np.asarray(counts, np.float64) + _SMOOTHING for counts in (old, new))
    a, b = a / a.sum(), b / b.sum()
    return float(((b - a) * np.log(b / a)).sum())


def _without_rare(table: Floats) -> Floats:
    """Adds up the categories that are expected too rarely: (2, categories) to (2, fewer)."""
    expected = table.sum(axis=0) * table.sum(axis=1).min() / table.sum()
    frequent, rare = table[:, expected >= _SMALLEST_EXPECTED], table[:, expected < _SMALLEST_EXPECTED].sum(axis=1)
    if expected[expected < _SMALLEST_EXPECTED].sum() >= _SMALLEST_EXPECTED or not frequent.size:
        return np.column_stack([frequent, rare])
    frequent[:, frequent.sum(axis=0).argmin()] += rare
    return frequent


def _kolmogorov(x: float) -> float:
    """The probability that the Kolmogorov distribution exceeds x, to 1e-8 for x above 0.3."""
    if x < 0.3:  # the series converges slowly, and the probability is above 0.99999
        return 1.0
    total = sum((1 if k % 2 else -1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 20))
    return min(1.0, max(0.0, 2 * total))


def _chi_squared(x: float, degrees: int) -> float:
    """The probability that the chi-squared distribution exceeds x; 1 without degrees of freedom.

    The upper incomplete gamma function by its recurrence, since scipy's import takes longer than most commands.
    """
    if degrees < 1:
        return 1.0
    half = x / 2
    if degrees % 2:
        order, total = 0.5, math.erfc(math.sqrt(half))
    else:
        order, total = 1.0, math.exp(-half)
    while order < degrees / 2:
        total += math.exp(order * math.log(half) - half - math.lgamma(order + 1)) if half > 0 else 0.0
        order += 1
    return min(1.0, total)
