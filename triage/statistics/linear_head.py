"""A linear head on fixed features: logistic regression with a ridge, for fewer photos than features.

Axes: n photos, f features.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from triage.statistics.arrays import Floats, Ints

RIDGE: Final = 1.0
"""The inverse variance of a photo's logit before any label is seen, over features that vary."""

FOLDS: Final = 5
_MAX_STEPS: Final = 300
_CONSTANT: Final = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """
    Attributes:
        weights: float64 (f,).
        intercept: added to each logit.
    """

    weights: Floats
    intercept: float

    def logits(self, features: Floats) -> Floats:
        """(..., f) to (...)."""
        found: Floats = features @ self.weights + self.intercept
        return found


def fit_linear_head(features: Floats, targets: Floats, *, ridge: float = RIDGE) -> LinearHead:
    """Fits a head by penalised maximum likelihood to standardised features, which it takes as they are.

    Args:
        features: (n, f), finite, n >= 1.
        targets: (n,), 0..1: the probability that each photo is good.
        ridge: as `RIDGE`.
    """
    n, n_features = features.shape
    mean, scale = features.mean(axis=0), features.std(axis=0)
    varies = scale > _CONSTANT
    x = (features[:, varies] - mean[varies]) / scale[varies] / np.sqrt(max(1, varies.sum()))  # |row|^2 is about 1
    start = np.zeros(x.shape[1] + 1)
    start[-1] = logit((targets.sum() + 0.5) / (n + 1))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        weights = parameters[:-1]
        z = x @ weights + parameters[-1]  # (n,)
        error = expit(z) - targets
        value = float(np.sum(np.logaddexp(0, z) - targets * z) + ridge / 2 * weights @ weights)
        return value, np.append(x.T @ error + ridge * weights, error.sum())

    if x.shape[1] and targets.min() < targets.max():
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS}).x
    else:
        found = start
    weights = np.zeros(n_features)
    weights[varies] = found[:-1] / scale[varies] / np.sqrt(max(1, varies.sum()))
    return LinearHead(weights, float(found[-1] - mean @ weights))


def predict_out_of_sample(
    features: Floats,
    targets: Floats,
    groups: Sequence[Hashable],
    *,
    ridge: float = RIDGE,
    folds: int = FOLDS,
    repeats: int = 1,
    seed: int = 0,
) -> Floats:
    """The probability of each photo by heads that saw no photo of its group, float64 (n,).

    Args:
        features: (n, f).
        targets: (n,), 0..1.
        groups: of each photo, such as its patient.
        ridge: as `RIDGE`.
        folds: parts of the groups; fewer if there are fewer groups.
        repeats: divisions into folds, over which probabilities are averaged.
        seed: of the divisions.

    Raises:
        ValueError: there are fewer than two groups.
    """
    random = np.random.default_rng(seed)
    total = np.zeros(len(targets))
    for _ in range(repeats):
        fold_of = divide(groups, folds, random)
        for fold in range(int(fold_of.max()) + 1):
            held_out = fold_of == fold
            head = fit_linear_head(features[~held_out], targets[~held_out], ridge=ridge)
            total[held_out] += expit(head.logits(features[held_out]))
    return total / repeats


def divide(groups: Sequence[Hashable], folds: int, random: np.random.Generator) -> Ints:
    """Assigns each group to a fold, at random with about the same number of photos in each: int64 (n,).

    Raises:
        ValueError: there are fewer than two groups.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    if len(members) < 2:
        raise ValueError("there must be at least two groups")
    order = [list(members.values())[index] for index in random.permutation(len(members))]
    fold_of = np.empty(len(groups), dtype=np.int64)
    sizes = np.zeros(min(folds, len(members)), dtype=np.int64)
    for rows in sorted(order, key=len, reverse=True):  # stable: still random among groups of one size
        fold = int(sizes.argmin())
        fold_of[rows] = fold
        sizes[fold] += len(rows)
    return fold_of
