"""The reasons of a model against those of reviewers, one by one.

Axes: n photos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from triage.domain.reasons import ReasonHead
from triage.domain.states import FindingKind
from triage.evaluation.calibration import calibration_bins
from triage.statistics.agreement import pairwise_kappa
from triage.statistics.arrays import Floats
from triage.statistics.auc import Labels

MAJORITY: Final = 0.5
"""A photo has a reason if at least this share of its reviewers gave it."""

_BINS: Final = 5


@dataclass(frozen=True, slots=True)
class ReasonPrediction:
    """One photo.

    Attributes:
        probabilities: of each reason of the model.
        given: the share of the reviewers who gave each reason they were asked for.
    """

    probabilities: Mapping[FindingKind, float]
    given: Mapping[FindingKind, float]


def evaluate_reasons(head: ReasonHead, photos: Sequence[ReasonPrediction]) -> dict[str, Any] | None:
    """Compares the reasons that a model names with those of the majority of reviewers.

    A reason is named if its probability reaches the limit of a photo that fails; so photos that pass count too.

    Returns:
        `{n, by_reason}`, with `n`, `n_with`, `n_named`, `precision`, `recall`, `f1`, `average_precision`, `kappa` (of
        the model and the majority) and `bins` of each reason, None where a value is undefined; None if no reviewer was
        asked for a reason of the model.
    """
    by_reason = {}
    for kind, reason in head.reasons.items():
        asked = [photo for photo in photos if kind in photo.given]
        if asked:
            probabilities = np.array([photo.probabilities[kind] for photo in asked])
            has_reason = np.array([photo.given[kind] >= MAJORITY for photo in asked])
            by_reason[kind.value] = _evaluate(probabilities, has_reason, reason.named_from)
    return {"n": sum(bool(photo.given) for photo in photos), "by_reason": by_reason} if by_reason else None


def average_precision(probabilities: Floats, has_reason: Labels) -> float | None:
    """The area under the precision-recall curve, as a sum of steps; equal probabilities are one step.

    None if no photo has the reason.
    """
    if not has_reason.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)  # the last photo of each step
    found = np.cumsum(has_reason[order])[ends]
    precision, recall = found / (ends + 1), found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _evaluate(probabilities: Floats, has_reason: Labels, named_from: float) -> dict[str, Any]:
    is_named = probabilities >= named_from
    both, n_with, n_named = int((is_named & has_reason).sum()), int(has_reason.sum()), int(is_named.sum())
    [kappa] = pairwise_kappa(np.stack([is_named, has_reason], axis=1).astype(np.float64)).values()
    return {
        "n": len(has_reason),
        "n_with": n_with,
        "n_named": n_named,
        "precision": both / n_named if n_named else None,
        "recall": both / n_with if n_with else None,
        "f1": 2 * both / (n_named + n_with) if n_named + n_with else None,
        "average_precision": average_precision(probabilities, has_reason),
        "kappa": kappa,
        "bins": [
            {"n": each.n, "predicted": each.predicted, "observed": each.observed, "interval": each.interval}
            for each in calibration_bins(probabilities, has_reason, _BINS)
        ],
    }
