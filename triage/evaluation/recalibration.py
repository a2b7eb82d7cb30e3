"""Fits the recalibration of all outputs of a model, so that 8 of 10 photos with a probability of 0.8 have these votes.

Axes: n photos, K outputs (cuts): output k is P(votes >= k).
"""

from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from triage.domain.card import Recalibration
from triage.errors import UsageError
from triage.statistics.arrays import Floats

_EPSILON: Final = 1e-12  # as in scoring


def fit_recalibration(cumulative: Floats, levels: Floats) -> Recalibration:
    """Fits one slope and K intercepts that never rise, by maximum likelihood over all cuts.

    Each cut's levels are Platt's targets, (n_yes + 1) / (n_yes + 2) and 1 / (n_no + 2), so that the maximum exists with
    few photos, with cuts of one class and with probabilities that separate the classes. The likelihood is concave and
    the order of the intercepts a linear constraint, so the maximum is the global one.
    Platt 1999, Probabilistic outputs for support vector machines; the model is the proportional odds model, McCullagh
    1980, Regression models for ordinal data, doi:10.1111/j.2517-6161.1980.tb01109.x, with a predictor for each cut.

    Args:
        cumulative: (n, K), 0..1, before recalibration.
        levels: (n, K), 0..1, as `triage.dataset.votes.levels_of_votes`; NaN where the votes leave it open, which leaves
            the photo out at this cut.

    Raises:
        UsageError: there are no known levels, or higher probabilities go with fewer votes.
    """
    known = ~np.isnan(levels)
    if not known.any():
        raise UsageError("no photo has votes to recalibrate on")
    x = logit(np.clip(cumulative.astype(np.float64), _EPSILON, 1 - _EPSILON))  # (n, K)
    scale = float(x[known].std()) or 1.0
    design = np.where(known, x / scale, 0.0)
    targets = _platts_targets(levels)

    def loss(weights: Floats) -> tuple[float, Floats]:
        """The mean negative log likelihood and its gradient; weights: the slope, b_1, then the falls to b_2 ... b_K."""
        intercepts = weights[1] - np.concatenate([[0.0], np.cumsum(weights[2:])])
        z = weights[0] * design + intercepts  # (n, K)
        residuals = np.where(known, expit(z) - targets, 0.0) / known.sum()
        by_cut = residuals.sum(axis=0)  # (K,)
        falls = -np.cumsum(by_cut[::-1])[::-1][1:]
        each = np.where(known, np.logaddexp(0, z) - targets * z, 0.0)
        return float(each.sum() / known.sum()), np.concatenate([[(residuals * design).sum(), by_cut.sum()], falls])

    n_outputs = levels.shape[1]
    bounds = [(None, None)] * 2 + [(0, None)] * (n_outputs - 1)
    start = np.array([scale, *[0.0] * n_outputs])
    found = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    slope = float(found.x[0]) / scale
    if not slope > 0:
        raise UsageError("higher probabilities go with fewer votes")
    intercepts = found.x[1] - np.concatenate([[0.0], np.cumsum(found.x[2:])])
    return Recalibration(slope=slope, intercepts=tuple(intercepts.tolist()))


def undo_recalibration(recalibration: Recalibration, cumulative: Floats) -> Floats:
    """The probabilities (n, K) before recalibration, up to the rounding of those after it."""
    logits = logit(np.clip(cumulative.astype(np.float64), _EPSILON, 1 - _EPSILON))
    before: Floats = expit((logits - np.array(recalibration.intercepts)) / recalibration.slope)
    return before


def _platts_targets(levels: Floats) -> Floats:
    """(n, K), with zeros where the level is open."""
    n_yes, n_no = np.nansum(levels, axis=0), np.nansum(1 - levels, axis=0)  # (K,)
    low, high = 1 / (n_no + 2), (n_yes + 1) / (n_yes + 2)
    targets: Floats = np.nan_to_num(low + levels * (high - low))
    return targets
