"""How well scores rank good photos above bad ones: ROC curve, area under it, intervals, comparison of two models.

Equal scores count one half throughout. Imports scipy.stats.

Axes: n photos, `n_good` of them good and `n_bad` bad; k distinct scores; g points of a grid.
"""

import math
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr
from scipy.stats import rankdata

from triage.statistics.arrays import Bools, Floats, checked_classes
from triage.statistics.confidence import CONFIDENCE, Interval, Z
from triage.statistics.resampling import aucs, draw, group_scores

Scores: TypeAlias = Floats
Labels: TypeAlias = Bools

_ONE_PHOTO: Final = "a class of one photo has no variance"
_SEPARATED: Final = "no good and bad photos overlap in score, so the estimated variance is 0"
_EQUAL: Final = "all scores are equal, so the estimated variance is 0"
_EXTREME: Final = "an AUC is exactly 0 or 1, where its estimated variance is 0"
_ALIKE: Final = "both models rank good against bad photos alike, so the estimated variance of the difference is 0"
_ROUNDING: Final = 1e-12
_QUANTILES: Final = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class RocCurve:
    """A point for each distinct score, from (0, 0) at a threshold of infinity to (1, 1).

    Attributes:
        false_positive_rate: float64 (k + 1,), ascending.
        sensitivity: float64 (k + 1,), ascending: the true positive rate.
        thresholds: float64 (k + 1,), descending.
    """

    false_positive_rate: Floats
    sensitivity: Floats
    thresholds: Floats


class RocBand(NamedTuple):
    """A pointwise band around a ROC curve: the interval of the sensitivity at each false positive rate, all (g,)."""

    false_positive_rate: Floats
    lower: Floats
    upper: Floats


@dataclass(frozen=True, slots=True)
class Area:
    """An AUC with its standard error and interval, or with the reason why neither can be estimated."""

    auc: float
    standard_error: float | None
    interval: Interval | None
    withheld: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same photos; `difference` is the first minus the other, `p_value` is two-sided.

    `interval` and `p_value` are None if they cannot be estimated; `withheld` is the reason.
    """

    auc: float
    other_auc: float
    difference: float
    interval: Interval | None
    p_value: float | None
    withheld: str | None = None


def auc(scores: ArrayLike, good: ArrayLike) -> float:
    """The area under the ROC curve: the probability that a good photo scores above a bad one. O(n log n).

    Args:
        scores: (n,), finite.
        good: bool (n,).

    Raises:
        ValueError: the shapes differ, a score is not finite, or all photos are good or all bad.
    """
    values, labels = checked_classes(scores, good)
    n_good = int(labels.sum())
    rank_sum = float(rankdata(values)[labels].sum())
    return (rank_sum - n_good * (n_good + 1) / 2) / (n_good * (len(labels) - n_good))


def roc_curve(scores: ArrayLike, good: ArrayLike) -> RocCurve:
    """The ROC curve with every distinct score as a threshold.

    Raises:
        ValueError: as `auc`.
    """
    values, labels = checked_classes(scores, good)
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # (k,) of each run of equal scores
    true_positives = np.cumsum(labels[order])[last]  # (n,) -> (k,)
    false_positives = last + 1 - true_positives
    return RocCurve(
        np.concatenate(([0.0], false_positives / false_positives[-1])),
        np.concatenate(([0.0], true_positives / true_positives[-1])),
        np.concatenate(([np.inf], ordered[last])),
    )


def delong(scores: ArrayLike, good: ArrayLike) -> Area:
    """The AUC with DeLong's standard error and 95 % interval, clipped to 0..1, in O(n log n).

    Both are withheld where the estimated variance would be 0 or undefined: all good photos score above all bad ones or
    all below, all scores are equal, or a class has a single photo. See `exact_interval` for the first two.
    Sun & Xu 2014, Fast implementation of DeLong's algorithm, doi:10.1109/LSP.2014.2337313.

    Raises:
        ValueError: as `auc`.
    """
    values, labels = checked_classes(scores, good)
    of_good, of_bad = _placements(values, labels)
    area = float(of_good.mean())
    if min(len(of_good), len(of_bad)) < 2:
        return Area(area, None, None, _ONE_PHOTO)
    error = math.sqrt(of_good.var(ddof=1) / len(of_good) + of_bad.var(ddof=1) / len(of_bad))
    if error == 0:
        return Area(area, None, None, _SEPARATED if area in {0, 1} else _EQUAL)
    return Area(area, error, _clipped(area, error))


def exact_interval(scores: ArrayLike, good: ArrayLike) -> Interval | None:
    """The exact one-sided 95 % interval of an AUC of exactly 1 or 0; None for another AUC.

    Of m pairs of a good and a bad photo that share no photo, with m the size of the smaller class, each is ranked
    rightly with the probability AUC, independently of the others. So the chance that all photos are separated is at
    most AUC**m, for any distribution of scores, and it is below 5 % for any AUC below 0.05**(1/m).
    That is the bound of Clopper & Pearson 1934 for m of m successes, doi:10.1093/biomet/26.4.404.

    Raises:
        ValueError: as `auc`.
    """
    values, labels = checked_classes(scores, good)
    bound = (1 - CONFIDENCE) ** (1 / min(int(labels.sum()), int((~labels).sum())))
    if values[labels].min() > values[~labels].max():
        return bound, 1.0
    if values[labels].max() < values[~labels].min():
        return 0.0, 1 - bound
    return None


def compare(scores: ArrayLike, other: ArrayLike, good: ArrayLike) -> Comparison:
    """DeLong's paired test of two models that scored the same photos, with the 95 % interval of the difference.

    The test and the interval are withheld where DeLong's variance says nothing: an AUC is exactly 0 or 1, the models
    rank good against bad photos alike, or a class has a single photo.
    DeLong, DeLong, Clarke-Pearson 1988, doi:10.2307/2531595, in the form of doi:10.1109/LSP.2014.2337313.

    Raises:
        ValueError: as `auc`.
    """
    own_good, own_bad = _placements(*checked_classes(scores, good))
    other_good, other_bad = _placements(*checked_classes(other, good))
    area, other_area = float(own_good.mean()), float(other_good.mean())
    difference = area - other_area
    if min(len(own_good), len(own_bad)) < 2:
        return Comparison(area, other_area, difference, None, None, _ONE_PHOTO)
    if {area, other_area} & {0, 1}:
        return Comparison(area, other_area, difference, None, None, _EXTREME)
    # the variance of the paired differences contains the covariance of the two AUCs
    variance = (own_good - other_good).var(ddof=1) / len(own_good) + (own_bad - other_bad).var(ddof=1) / len(own_bad)
    error = math.sqrt(variance)
    if error < _ROUNDING:
        return Comparison(area, other_area, difference, None, None, _ALIKE)
    interval = (max(difference - Z * error, -1.0), min(difference + Z * error, 1.0))
    return Comparison(area, other_area, difference, interval, float(2 * ndtr(-abs(difference) / error)))


def hanley_mcneil_error(area: float, n_good: int, n_bad: int) -> float:
    """The standard error of an AUC, from its value and the class sizes, which publications state.

    Hanley & McNeil 1982, The meaning and use of the area under a ROC curve, doi:10.1148/radiology.143.1.7063747.
    """
    both_above = area / (2 - area)
    both_below = 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (n_good - 1) * (both_above - area**2) + (n_bad - 1) * (both_below - area**2)
    return math.sqrt(max(variance, 0.0) / (n_good * n_bad))


def hanley_mcneil_interval(area: float, n_good: int, n_bad: int) -> Interval:
    """The 95 % interval by `hanley_mcneil_error`, clipped to 0..1."""
    return _clipped(area, hanley_mcneil_error(area, n_good, n_bad))


def bootstrap_interval(scores: ArrayLike, good: ArrayLike, *, n_resamples: int = 2000, seed: int = 0) -> Interval:
    """The stratified percentile bootstrap 95 % interval of the AUC; the same seed gives the same interval.

    Above 1,000 distinct scores, neighbouring ranks are pooled into 1,000 groups, so that a million scores take no
    longer to resample than a thousand; the interval is shifted by the difference that the pooling makes to the AUC.

    Raises:
        ValueError: as `auc`.
    """
    values, labels = checked_classes(scores, good)
    groups = group_scores(values, labels)
    n_good, n_bad = int(groups.good.sum()), int(groups.bad.sum())
    areas = np.concatenate([aucs(*counts) for counts in draw(groups, n_good, n_bad, n_resamples, seed)])
    low, high = np.quantile(areas, _QUANTILES) + (auc(values, labels) - groups.auc)
    return max(float(low), 0.0), min(float(high), 1.0)


def roc_band(
    scores: ArrayLike, good: ArrayLike, *, n_points: int = 101, n_resamples: int = 1000, seed: int = 0
) -> RocBand:
    """The pointwise 95 % band of the ROC curve, by stratified bootstrap on an even grid of false positive rates.

    Neighbouring scores are pooled as in `bootstrap_interval`.

    Args:
        n_points: g, the points of the grid.

    Raises:
        ValueError: as `auc`.
    """
    values, labels = checked_classes(scores, good)
    groups = group_scores(values, labels)
    grid = np.linspace(0, 1, n_points)
    curves = [
        np.interp(grid, _rates(bad), _rates(good_))
        for chunk in draw(groups, int(groups.good.sum()), int(groups.bad.sum()), n_resamples, seed)
        for good_, bad in zip(*chunk, strict=True)
    ]
    lower, upper = np.quantile(curves, _QUANTILES, axis=0)
    return RocBand(grid, lower, upper)


def _placements(values: Floats, labels: Bools) -> tuple[Floats, Floats]:
    """The share of bad photos below each good photo (n_good,), and of good photos above each bad one (n_bad,)."""
    ranks = rankdata(values)
    good, bad = values[labels], values[~labels]
    below_good: Floats = (ranks[labels] - rankdata(good)) / len(bad)
    above_bad: Floats = 1 - (ranks[~labels] - rankdata(bad)) / len(good)
    return below_good, above_bad


def _clipped(area: float, error: float) -> Interval:
    return max(area - Z * error, 0.0), min(area + Z * error, 1.0)


def _rates(counts: Floats) -> Floats:
    """From counts in ascending order of score (k,) to the shares at or above each threshold (k + 1,), 0 to 1."""
    rates: Floats = np.concatenate(([0], np.cumsum(counts[::-1]))) / counts.sum()
    return rates
