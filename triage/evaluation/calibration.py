"""Calibration: whether 8 of 10 photos with a score of 0.8 are good, and the recalibration of scores.

Axes: n photos.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import rankdata

from triage.statistics.arrays import Floats, checked
from triage.statistics.confidence import Interval
from triage.statistics.proportions import wilson_interval

_EPSILON: Final = 1e-12  # scores are clipped to this distance from 0 and 1, as in the scorer
_MAX_STEPS: Final = 100
_MAX_HALVINGS: Final = 40


@dataclass(frozen=True, slots=True)
class Platt:
    """A recalibration of scores: sigmoid(slope * logit(score) + intercept).

    Fitted to scores, a slope of 1 and an intercept of 0 means perfect calibration, a slope below 1 that scores are too
    extreme, above 1 that they are too moderate.
    """

    slope: float
    intercept: float

    def apply(self, scores: ArrayLike) -> Floats:
        """Recalibrates scores (n,) in 0..1; returns float64 (n,)."""
        calibrated: Floats = expit(self.slope * _logits(np.asarray(scores, dtype=np.float64)) + self.intercept)
        return calibrated


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Photos of similar score.

    Attributes:
        predicted: the mean score.
        observed: the share of good photos.
        n: the number of photos.
        interval: Wilson's, of the share.
    """

    predicted: float
    observed: float
    n: int
    interval: Interval | None


def fit_platt(scores: ArrayLike, good: ArrayLike) -> Platt:
    """Fits a recalibration by maximum likelihood.

    If the maximum does not exist (the scores separate good from bad, or all photos are of one class), Platt's
    targets, (n_good + 1) / (n_good + 2) and 1 / (n_bad + 2), replace the labels. The slope of equal scores is 0.
    Platt 1999, Probabilistic outputs for support vector machines; Lin, Lin, Weng 2007, doi:10.1007/s10994-007-5018-6.

    Args:
        scores: (n,), 0..1.
        good: bool (n,).

    Raises:
        ValueError: there are no photos, the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    if not len(values):
        raise ValueError("there are no photos to fit on")
    x = _logits(values)
    n_good = int(labels.sum())
    if _has_maximum(x, labels):
        targets = labels.astype(np.float64)
    else:
        targets = np.where(labels, (n_good + 1) / (n_good + 2), 1 / (len(labels) - n_good + 2))
    return _maximise(x, targets)


def calibration_line(scores: ArrayLike, good: ArrayLike) -> Platt | None:
    """Calibration slope and intercept: the logistic regression of the outcome on the logit of the score.

    None if it has no finite solution: the scores separate the classes, all scores are equal, or there is one class.
    Cox 1958, Two further applications of a model for binary regression, doi:10.1093/biomet/45.3-4.562.

    Raises:
        ValueError: the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    x = _logits(values)
    if not len(x) or x.min() == x.max() or not _has_maximum(x, labels):
        return None
    return _maximise(x, labels.astype(np.float64))


def calibration_bins(scores: ArrayLike, good: ArrayLike, n_bins: int = 10) -> list[CalibrationBin]:
    """Photos in bins of equal count, in ascending order of score; fewer than `n_bins` if scores are equal.

    Raises:
        ValueError: the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    if not len(values):
        return []
    n_lower = rankdata(values, method="min").astype(np.int64) - 1
    _, bin_of = np.unique(n_lower * n_bins // len(values), return_inverse=True)
    sizes = np.bincount(bin_of)
    predicted = np.bincount(bin_of, weights=values) / sizes
    n_good = np.bincount(bin_of, weights=labels)
    return [
        CalibrationBin(float(mean), int(k) / int(n), int(n), wilson_interval(int(k), int(n)))
        for mean, k, n in zip(predicted, n_good, sizes, strict=True)
    ]


def describe_calibration(scores: ArrayLike, good: ArrayLike) -> dict[str, Any]:
    """The calibration as JSON types: `{slope, intercept, brier, bins[{n, predicted, observed, interval}]}`.

    The Brier score is the mean squared distance of scores and outcomes: 0 is perfect, always saying one half is 0.25.
    Brier 1950, Verification of forecasts expressed in terms of probability,
    doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Raises:
        ValueError: the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    line = calibration_line(values, labels)
    return {
        "slope": line.slope if line else None,
        "intercept": line.intercept if line else None,
        "brier": float(np.square(values - labels).mean()) if len(values) else None,
        "bins": [
            {
                "n": each.n,
                "predicted": each.predicted,
                "observed": each.observed,
                "interval": None if each.interval is None else list(each.interval),
            }
            for each in calibration_bins(values, labels)
        ],
    }


def describe_cuts(cumulative: Floats, levels: Floats) -> list[dict[str, Any]]:
    """The calibration of P(votes >= k) for each k, as `describe_calibration` with `{votes: k, n, n_yes}`.

    A photo counts at the cuts whose outcome its votes decide.

    Args:
        cumulative: (n, K), 0..1.
        levels: (n, K), as `triage.dataset.votes.levels_of_votes`.
    """
    cuts = []
    for cut in range(levels.shape[1]):
        known = np.isin(levels[:, cut], (0, 1))
        outcomes = levels[known, cut] == 1
        measures = describe_calibration(cumulative[known, cut], outcomes)
        cuts.append({"votes": cut + 1, "n": len(outcomes), "n_yes": int(outcomes.sum()), **measures})
    return cuts


def _logits(values: Floats) -> Floats:
    logits: Floats = logit(np.clip(values, _EPSILON, 1 - _EPSILON))
    return logits


def _has_maximum(x: Floats, labels: Any) -> bool:
    """Whether good and bad scores overlap. If they only touch, the likelihood has no maximum either."""
    good, bad = x[labels], x[~labels]
    if not len(good) or not len(bad):
        return False
    return bool(good.min() < bad.max() and bad.min() < good.max()) or bool(x.min() == x.max())


def _maximise(x: Floats, targets: Floats) -> Platt:
    """Newton's method with step halving. Centring and scaling x keeps it well conditioned."""
    centre, scale = float(x.mean()), float(x.std())
    if scale <= 1e-12 * max(1.0, abs(centre)):  # equal scores: only the intercept can be estimated
        return Platt(0.0, float(logit(targets.mean())))
    design = np.stack([(x - centre) / scale, np.ones_like(x)])  # (2, n)
    weights = np.array([0.0, float(logit(targets.mean()))])
    loss = _loss(weights, design, targets)
    for _ in range(_MAX_STEPS):
        p = expit(weights @ design)  # (n,)
        gradient = design @ (p - targets)  # (2,)
        if np.abs(gradient).max() <= 1e-11 * len(x):
            break
        hessian = (design * (p * (1 - p))) @ design.T  # (2, 2)
        step = np.linalg.solve(hessian + 1e-12 * len(x) * np.eye(2), gradient)
        for _ in range(_MAX_HALVINGS):
            tried = _loss(weights - step, design, targets)
            if tried <= loss:
                break
            step = step / 2
        else:
            break  # no step lowers the loss: the limit of floating point
        weights, loss = weights - step, tried
    slope = float(weights[0]) / scale
    return Platt(slope, float(weights[1]) - slope * centre)


def _loss(weights: Floats, design: Floats, targets: Floats) -> float:
    z = weights @ design  # (2,) @ (2, n) -> (n,)
    return float(np.sum(np.logaddexp(0, z) - targets * z))
