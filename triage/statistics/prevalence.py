"""Rates at another prevalence: another share of good photos than in the data."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from triage.statistics.arrays import Floats, checked_classes
from triage.statistics.resampling import aucs, draw, group_scores

PAPER_GOOD_SHARE: Final = 0.73
"""In the training set of doi:10.1016/j.xjidi.2024.100285, where 660 of 900 photos had at least two votes."""


def at_prevalence(sensitivity: float, specificity: float, good_share: float) -> dict[str, float | None]:
    """PPV and NPV at another share of good photos, by Bayes' theorem.

    Args:
        sensitivity: 0..1.
        specificity: 0..1.
        good_share: 0..1.

    Returns:
        `{ppv, npv}`; PPV is None if no photo passes, NPV if all do.
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
    """Rates of stratified resamples, with replacement, of n photos at the wanted share of good ones.

    As in doi:10.1016/j.xjidi.2024.100285. Above 1,000 distinct scores, neighbouring scores are pooled for the AUC (see
    `triage.statistics.resampling`), but never across the threshold, so the rates stay exact.

    Args:
        scores: (n,), finite.
        good: bool (n,).
        threshold: a score at or above it is accepted.
        good_share: above 0 and below 1; each class has at least one photo.
        n_resamples: number of resamples.
        seed: the same seed gives the same result.

    Returns:
        `{auc, ppv, sensitivity, npv, specificity}`, each `{mean, sd}` over the resamples that define it, or None.

    Raises:
        ValueError: the shapes differ, a score is not finite, or all photos are good or all bad.
    """
    values, labels = checked_classes(scores, good)
    groups = group_scores(values, labels, threshold)
    n_good = min(max(round(good_share * len(values)), 1), len(values) - 1)
    n_bad = len(values) - n_good
    parts: list[tuple[Floats, Floats, Floats]] = []
    for drawn_good, drawn_bad in draw(groups, n_good, n_bad, n_resamples, seed):
        tp = drawn_good[:, groups.accepted].sum(axis=1)  # (r, k) -> (r,)
        fp = drawn_bad[:, groups.accepted].sum(axis=1)
        parts.append((aucs(drawn_good, drawn_bad), tp.astype(np.float64), fp.astype(np.float64)))
    areas, tp, fp = (np.concatenate(part) for part in zip(*parts, strict=True))  # (n_resamples,) each
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
