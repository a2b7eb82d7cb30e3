"""The evaluation of a model as one JSON document, computed from scores and votes."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import pearsonr, spearmanr

from triage.evaluation.calibration import describe_calibration, describe_cuts
from triage.evaluation.operating_point import RATES, Counts, count_at, ppv_threshold, youden_threshold
from triage.evaluation.predictions import Predictions
from triage.statistics.agreement import quadratic_kappa
from triage.statistics.arrays import Floats, Ints
from triage.statistics.auc import (
    Comparison,
    Labels,
    Scores,
    auc,
    bootstrap_interval,
    compare,
    delong,
    exact_interval,
    hanley_mcneil_interval,
)
from triage.statistics.clusters import cluster_intervals
from triage.statistics.prevalence import PAPER_GOOD_SHARE, at_prevalence, resampled

MAX_GROUPS: Final = 50
"""A column with more values than this is an id, not a group."""


def evaluate(
    predictions: Predictions,
    *,
    threshold: float | None = None,
    good_votes: int = 2,
    by: Sequence[str] = (),
    target_ppv: float | None = None,
    good_share: float = PAPER_GOOD_SHARE,
    seed: int = 0,
) -> dict[str, Any]:
    """Computes the measures of the paper, and others that a clinic needs before it uses a model.

    Args:
        predictions: scores and votes.
        threshold: a score at or above it is accepted; by default chosen for `target_ppv`, or by Youden's index, on the
            same photos, which makes the rates optimistic.
        good_votes: a photo with at least this number of votes is good.
        by: columns to group by; a column with more than `MAX_GROUPS` values is left out.
        target_ppv: choose the threshold for this PPV.
        good_share: the share of good photos for `prevalence_adjusted`.
        seed: of the resampling.

    Returns:
        `{n, n_good, n_bad, good_votes, threshold, threshold_chosen_by, auc, auc_ci{delong, hanley_mcneil, bootstrap},
        auc_ci_withheld, auc_exact_ci, tp, fn, tn, fp, sensitivity, specificity, ppv, npv, needless_retake_share,
        intervals{}, by_patient{n_patients, auc_ci, intervals{}}, calibration{slope, intercept, brier, bins, by_cut},
        calibration_before, prevalence_adjusted{}, correlation, grade_kappa, groups{column: {value: {}}}}`, with None
        for measures that are not defined. All of `auc_ci` is None if its variance cannot be estimated, for the reason
        in `auc_ci_withheld`; `auc_exact_ci` is one-sided, for an AUC of exactly 0 or 1. `by_patient` has intervals that
        resample patients, and is None unless a patient has several photos. `by_cut` has the same measures of P(votes >=
        k) for each k, and is None if these are not known; `calibration_before` is before the recalibration, if any.
        `grade_kappa` is the quadratic weighted kappa of grades and votes.
    """
    good = predictions.good(good_votes)
    scores = predictions.scores
    threshold, chosen_by = _threshold(predictions, good, threshold, target_ppv)
    counts = count_at(scores, good, threshold)
    both = counts.tp + counts.fn > 0 and counts.tn + counts.fp > 0
    area = _auc(scores, good)
    has_interval = area["auc_ci"]["delong"] is not None
    area["auc_ci"] |= (
        _further_intervals(area["auc"], scores, good, seed)
        if has_interval
        else {"hanley_mcneil": None, "bootstrap": None}
    )
    return {
        "n": len(predictions),
        "n_good": counts.tp + counts.fn,
        "n_bad": counts.tn + counts.fp,
        "good_votes": good_votes,
        "threshold": threshold,
        "threshold_chosen_by": chosen_by,
        **area,
        **_rates(counts),
        "by_patient": _by_patient(predictions, good, threshold, seed),
        "calibration": describe_calibration(scores, good) | {"by_cut": _by_cut(predictions.cumulative, predictions)},
        "calibration_before": _before(predictions, good, good_votes),
        "prevalence_adjusted": _adjusted(predictions, good, counts, threshold, good_share, seed) if both else None,
        "correlation": _correlation(predictions),
        "grade_kappa": None if predictions.grades is None else quadratic_kappa(predictions.grades, predictions.votes),
        "groups": {
            column: _groups(predictions, column, good, threshold)
            for column in by
            if len(set(predictions.columns[column])) <= MAX_GROUPS
        },
    }


def comparison_json(predictions: Predictions, other: Predictions, *, good_votes: int = 2) -> dict[str, Any]:
    """DeLong's paired test of two models on the same photos in the same order."""
    comparison: Comparison = compare(predictions.scores, other.scores, predictions.good(good_votes))
    return {
        "auc": comparison.auc,
        "other_auc": comparison.other_auc,
        "difference": comparison.difference,
        "interval": _list(comparison.interval),
        "p_value": comparison.p_value,
        "withheld": comparison.withheld,
    }


def _threshold(
    predictions: Predictions, good: Labels, threshold: float | None, target_ppv: float | None
) -> tuple[float, str]:
    if threshold is not None:
        return threshold, "given"
    if target_ppv is not None:
        return ppv_threshold(predictions.scores, good, target_ppv), f"PPV of at least {target_ppv:g}"
    return youden_threshold(predictions.scores, good), "Youden's index"


def _auc(scores: Scores, good: Labels) -> dict[str, Any]:
    """The AUC with DeLong's interval, or the reason why it has none; None without good or without bad photos."""
    if not (good.any() and not good.all()):
        return {"auc": None, "auc_ci": {"delong": None}, "auc_ci_withheld": None, "auc_exact_ci": None}
    area = delong(scores, good)
    return {
        "auc": auc(scores, good),
        "auc_ci": {"delong": _list(area.interval)},
        "auc_ci_withheld": area.withheld,
        "auc_exact_ci": _list(exact_interval(scores, good)),
    }


def _further_intervals(area: float, scores: Scores, good: Labels, seed: int) -> dict[str, list[float] | None]:
    n_good = int(good.sum())
    return {
        "hanley_mcneil": _list(hanley_mcneil_interval(area, n_good, len(good) - n_good)),
        "bootstrap": _list(bootstrap_interval(scores, good, seed=seed)),
    }


def _rates(counts: Counts) -> dict[str, Any]:
    shares = {name: getattr(counts, name) for name in RATES}
    return {
        "tp": counts.tp,
        "fn": counts.fn,
        "tn": counts.tn,
        "fp": counts.fp,
        **{name: share.value for name, share in shares.items()},
        "intervals": {name: _list(share.interval) for name, share in shares.items()},
    }


def _by_patient(predictions: Predictions, good: Labels, threshold: float, seed: int) -> dict[str, Any] | None:
    """Intervals that resample patients: those that take photos for independent ones are too narrow."""
    patients, scores = predictions.patients, predictions.scores
    n_patients = len(set(patients))
    if n_patients == len(patients):
        return None

    def measures(rows: Ints) -> list[float]:
        labels, theirs = good[rows], scores[rows]
        counts = count_at(theirs, labels, threshold)
        area = auc(theirs, labels) if labels.any() and not labels.all() else np.nan
        rates = [getattr(counts, name).value for name in RATES]
        return [area, *(np.nan if rate is None else rate for rate in rates)]

    area, *rates = cluster_intervals(measures, patients, seed=seed)
    return {
        "n_patients": n_patients,
        "auc_ci": _list(area),
        "intervals": {name: _list(interval) for name, interval in zip(RATES, rates, strict=True)},
    }


def _by_cut(cumulative: Floats | None, predictions: Predictions) -> list[dict[str, Any]] | None:
    if cumulative is None or predictions.levels is None:
        return None
    return describe_cuts(cumulative, predictions.levels)


def _before(predictions: Predictions, good: Labels, good_votes: int) -> dict[str, Any] | None:
    """The calibration before the recalibration."""
    before = predictions.uncalibrated
    if before is None:
        return None
    return describe_calibration(before[:, good_votes - 1], good) | {"by_cut": _by_cut(before, predictions)}


def _adjusted(
    predictions: Predictions, good: Labels, counts: Counts, threshold: float, good_share: float, seed: int
) -> dict[str, Any]:
    sensitivity, specificity = counts.sensitivity.value, counts.specificity.value
    return {
        "good_share": good_share,
        "bayes": at_prevalence(sensitivity or 0.0, specificity or 0.0, good_share),
        "resampled": resampled(predictions.scores, good, threshold, good_share, seed=seed),
    }


def _groups(predictions: Predictions, column: str, good: Labels, threshold: float) -> dict[str, Any]:
    values = np.array(predictions.columns[column])
    groups = {}
    for value in sorted(set(values)):
        chosen = values == value
        scores, labels = predictions.scores[chosen], good[chosen]
        counts = count_at(scores, labels, threshold)
        groups[str(value)] = {
            "n": len(labels),
            "n_good": int(labels.sum()),
            **_auc(scores, labels),
            **_rates(counts),
        }
    return groups


def _correlation(predictions: Predictions) -> dict[str, float] | None:
    """Spearman's and Pearson's correlation with the ratings; None without ratings, or if it is not defined."""
    ratings, scores = predictions.ratings, predictions.scores
    if ratings is None or len(ratings) < 3 or np.ptp(ratings) == 0 or np.ptp(scores) == 0:
        return None
    return {
        "srcc": float(spearmanr(scores, ratings).statistic),
        "plcc": float(pearsonr(scores, ratings).statistic),
    }


def _list(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [float(end) for end in interval]
