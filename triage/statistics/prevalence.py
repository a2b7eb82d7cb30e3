"""What the rates would be where good photos are more or less common than among the photos at hand."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from triage.statistics.arrays import Floats, checked_classes
from triage.statistics.resampling import aucs, draw, group_scores

PAPER_GOOD_SHARE: Final = 0.73
"""Of the training set of doi:10.1016/j.xjidi.2024.100285: 660 of 900 photos had at least two votes."""


def at_prevalence(sensitivity: float, specificity: float, good_share: float) -> dict[str, float | None]:
    """PPV and NPV at another share of good photos, by Bayes' rule.

    Args:
        sensitivity: 0..1.
        specificity: 0..1.
        good_share: 0..1.

    Returns:
        `{ppv, npv}`, None where nothing would pass, or everything.
    """
    tp, fn = good_share * sensitivity, good_share * (1 - sensitivity)
    tn, fp = (1 - good_share) * specificity, (1 - good_share) * (1 - specificity)
    return {"ppv": tp / (tp + fp) if tp + fp > 0 else None, "npv": tn / (tn + fn) if tn + fn > 0 else None}


def resampled(
    scores: ArrayLike,
    good: ArrayLike,
    threshold: float,
    good_share: float,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float] | None]:
    """Resamples good and bad photos apart, with replacement, as many as there are in all, in the wanted ratio.

    So did doi:10.1016/j.xjidi.2024.100285. Above 1,000 distinct scores, neighbours are pooled for the AUC (see
    `triage.statistics.resampling`), but never across the threshold: the rates stay exact.

    Args:
        scores: (n,), finite.
        good: bool (n,).
        threshold: a score at or above it is accepted.
        good_share: between 0 and 1; each class gets at least one photo.
        n_resamples: how often.
        seed: the same seed gives the same result.

    Returns:
        `{auc, ppv, sensitivity, npv, specificity}`, each `{mean, sd}` over the resamples that define it, else None.

    Raises:
        ValueError: the shapes differ, a score is not finite, or all photos are good or all bad.
    """
    values, labels = checked_classes(scores, good)
    groups = group_scores(values, labels, threshold)
    n_good = min(max(round(good_share * len(values)), 1), len(values) - 1)
    n_bad = len(values) - n_good
    parts: list[tuple[Floats, Floats, Floats]] = []
    for drawn_good, drawn_bad in draw(groups, n_good, n_bad, n_resamples, seed):
        tp, fp = drawn_good[:, groups.accepted].sum(axis=1), drawn_bad[:, groups.accepted].sum(axis=1)
        parts.append((aucs(drawn_good, drawn_bad), tp.astype(np.float64), fp.astype(np.float64)))
    areas, tp, fp = (np.concatenate(part) for part in zip(*parts, strict=True))
    fn, tn = n_good - tp, n_bad - fp
    return {
        "auc": _spread(areas),
        "ppv": _spread(tp[tp + fp > 0] / (tp + fp)[tp + fp > 0]),
        "sensitivity": _spread(tp / n_good),
        "npv": _spread(tn[tn + fn > 0] / (tn + fn)[tn + fn > 0]),
        "specificity": _spread(tn / n_bad),
    }


def _spread(values: Floats) -> dict[str, float] | None:
    if len(values) < 2:
        return None
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1))}
