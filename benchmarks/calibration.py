"""What recalibrations of a model's outputs reach on new photos, by the number of photos that they are fitted on.

    python -m benchmarks.calibration

Draws studies: photos of some quality, four reviewers who differ in how strict they are and who misjudge a photo alike,
and a network with an ordinal head whose patches see the quality with noise. Its weights are fitted to 600 photos and
then scaled, as a network that is overfitted (2.5) or stopped early (0.6) has them. Each recalibration is fitted to
other photos and measured on 4,000 more.
"""

import argparse
from collections.abc import Callable
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from triage.domain.card import Recalibration
from triage.evaluation.calibration import calibration_line, fit_platt
from triage.evaluation.recalibration import fit_recalibration
from triage.statistics.arrays import Floats

_K: Final = 4
_TRAINING: Final = 600
_MEASURED: Final = 4000
_SCORE: Final = 1
"""The cut of the score: P(votes >= 2)."""

Recalibrate = Callable[[Floats], Floats]
"""Probabilities (n, K) to probabilities (n, K)."""


class Study:
    """Photos and reviewers; `noise` and the strictness of the reviewers are the same for all its photos."""

    def __init__(self, random: np.random.Generator, scale: float) -> None:
        self._random = random
        self._strictness = random.normal(0, 0.7, _K)
        levels, patches = self._draw(_TRAINING)
        self._weights = _fit_head(patches, levels)
        self._scale = scale

    def photos(self, n: int) -> tuple[Floats, Floats]:
        """The network's cumulative probabilities and the levels: (n, K) each."""
        levels, patches = self._draw(n)
        signal = np.exp(self._weights[0]) * patches[:, :, None] + np.sort(self._weights[1:])[::-1]  # (n, 5, K)
        return expit(self._scale * signal).mean(axis=1), levels

    def _draw(self, n: int) -> tuple[Floats, Floats]:
        random = self._random
        quality, misjudged = random.normal(0, 1.5, n), random.normal(0, 0.8, n)
        votes = (random.random((n, _K)) < expit(1.8 * (quality + misjudged)[:, None] - self._strictness)).sum(axis=1)
        patches = quality[:, None] + random.normal(size=(n, 1)) + random.normal(0, 0.7, (n, 5))
        return (votes[:, None] >= np.arange(1, _K + 1)).astype(np.float64), patches


def _fit_head(patches: Floats, levels: Floats) -> Floats:
    """The logarithm of the weight, and the biases, of the ordinal head."""

    def loss(weights: Floats) -> float:
        p = expit(np.exp(weights[0]) * patches[:, :, None] + weights[1:]).mean(axis=1)
        return _log_loss(p, levels)

    fitted: Floats = minimize(loss, [0, 1, 0.3, -0.3, -1], method="L-BFGS-B").x
    return fitted


def _log_loss(p: Floats, levels: Floats) -> float:
    p = p.clip(1e-12, 1 - 1e-12)
    return float(-(levels * np.log(p) + (1 - levels) * np.log(1 - p)).mean())


def _none(_p: Floats, _levels: Floats) -> Recalibrate:
    return lambda p: p


def _single(p: Floats, levels: Floats) -> Recalibrate:
    """Platt's recalibration of the score, applied to all cuts."""
    return fit_platt(p[:, _SCORE], levels[:, _SCORE] == 1).apply


def _one_slope(p: Floats, levels: Floats) -> Recalibrate:
    return _applied(fit_recalibration(p, levels))


def _applied(found: Recalibration) -> Recalibrate:
    return lambda p: expit(found.slope * logit(p.clip(1e-12, 1 - 1e-12)) + np.array(found.intercepts))


def _each_cut(p: Floats, levels: Floats) -> Recalibrate:
    """Platt's recalibration of each cut, which may cross."""
    found = [fit_platt(p[:, cut], levels[:, cut] == 1) for cut in range(_K)]
    return lambda p: np.column_stack([each.apply(p[:, cut]) for cut, each in enumerate(found)])


_METHODS: Final = {
    "none": _none,
    "one Platt for all cuts": _single,
    "one slope, K intercepts": _one_slope,
    "a Platt for each cut": _each_cut,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--photos", type=int, nargs="+", default=[30, 100, 400])
    arguments = parser.parse_args()
    print("photos  recalibration            log loss  Brier   slope off by  crossing")
    for n in arguments.photos:
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in _METHODS}
        for seed in range(arguments.studies):
            study = Study(np.random.default_rng(seed), scale=(0.6, 1.0, 2.5)[seed % 3])
            fitted, measured = study.photos(n), study.photos(_MEASURED)
            for name, method in _METHODS.items():
                found[name].append(_measure(method(*fitted)(measured[0]), measured[1]))
        for name, rows in found.items():
            loss, brier, off, crossing = np.mean(rows, axis=0)
            print(f"{n:6}  {name:23}  {loss:8.4f}  {brier:.4f}  {off:12.1%}  {crossing:8.1%}")


def _measure(p: Floats, levels: Floats) -> tuple[float, ...]:
    """Log loss, Brier score, how far the calibration slopes of the cuts are from 1, and photos that cross."""
    lines = [calibration_line(p[:, cut], levels[:, cut] == 1) for cut in range(_K)]
    off = [abs(np.log(max(line.slope, 0.05))) for line in lines if line is not None]
    crosses = (np.diff(p, axis=1) > 1e-9).any(axis=1)
    return _log_loss(p, levels), float(np.square(p - levels).mean()), float(np.expm1(np.mean(off))), crosses.mean()


if __name__ == "__main__":
    main()
