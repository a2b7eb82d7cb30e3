"""Uncertainty of a yes or no, in bits.

Axes: n photos, m opinions on each.
"""

from typing import Final

import numpy as np
from scipy.special import expit, logit, xlogy

from triage.statistics.arrays import Floats

_EPSILON: Final = 1e-9


def entropy(probabilities: Floats) -> Floats:
    """The entropy of each probability: 0 where it is 0 or 1, 1 where it is one half."""
    bits: Floats = -(xlogy(probabilities, probabilities) + xlogy(1 - probabilities, 1 - probabilities)) / np.log(2)
    return bits


def disagreement(probabilities: Floats) -> Floats:
    """How much opinions disagree: the entropy of their mean less their mean entropy, (n, m) to (n,), 0..1.

    It is their Jensen-Shannon divergence (Lin 1991, doi:10.1109/18.61115).
    """
    bits: Floats = entropy(probabilities.mean(axis=1)) - entropy(probabilities).mean(axis=1)
    return bits.clip(min=0)


def centred(scores: Floats, threshold: float) -> Floats:
    """Shifts the logits of scores so that the threshold becomes one half; any shape."""
    moved: Floats = expit(
        logit(scores.clip(_EPSILON, 1 - _EPSILON)) - logit(np.clip(threshold, _EPSILON, 1 - _EPSILON))
    )
    return moved
