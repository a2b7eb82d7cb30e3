"""Two models on the same photos: which one ranks better, and which photos change sides.

Axes: n photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from triage.errors import UsageError
from triage.evaluation.operating_point import RATES, count_at, youden_threshold
from triage.evaluation.predictions import Predictions
from triage.statistics.arrays import Bools, Floats, Ints
from triage.statistics.auc import auc, compare
from triage.statistics.clusters import cluster_intervals

_PERMUTATIONS: Final = 2000
_FEW: Final = 50
_SIGNIFICANT: Final = 0.05
_SHOWN_IDS: Final = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model's predictions.

    Attributes:
        name: of the model or the file.
        threshold: from which a photo passes; by default chosen by Youden's index on these photos.
        trained_on: number of photos that the model was trained or validated on, if that is known.
    """

    name: str
    predictions: Predictions
    threshold: float | None = None
    trained_on: int | None = None


def compare_models(one: Candidate, other: Candidate, *, good_votes: int = 2, seed: int = 0) -> dict[str, Any]:
    """Compares two models on the same photos, which are joined by their ids.

    The paired tests are DeLong's, a bootstrap of patients, and a permutation test, which exchanges the two models'
    ranks of photos at random (Bandos, Rockette, Gur 2005, doi:10.1002/sim.2149).

    Returns:
        `{n, n_good, n_bad, good_votes, one{name, auc, threshold, threshold_chosen_by, rates}, other{}, difference,
        interval, p_value, withheld, permutation_p_value, by_patient, reclassification{good{}, bad{}}, changed[],
        cautions[]}`. `reclassification` counts photos by whether they pass with `one` and with `other`; `changed` are
        the photos on two sides, the largest change first.

    Raises:
        UsageError: an id is missing or repeated, the photos or their votes differ, or all are good, or all are bad.
    """
    rows = _joined(one.predictions, other.predictions)
    scores, theirs = one.predictions.scores, other.predictions.scores[rows]
    good = one.predictions.good(good_votes)
    if not np.array_equal(one.predictions.votes, other.predictions.votes[rows]):
        raise UsageError("the votes on the same photos differ: give predictions for the same labels")
    if not good.any() or good.all():
        raise UsageError("a comparison needs good and bad photos")
    paired = compare(scores, theirs, good)
    thresholds = [_threshold(one, scores, good), _threshold(other, theirs, good)]
    passes = [scores >= thresholds[0], theirs >= thresholds[1]]
    permuted = _permutation_p_value(scores, theirs, good, seed)
    return {
        "n": len(scores),
        "n_good": int(good.sum()),
        "n_bad": int((~good).sum()),
        "good_votes": good_votes,
        "one": _model(one, scores, good, thresholds[0]),
        "other": _model(other, theirs, good, thresholds[1]),
        "difference": paired.difference,
        "interval": None if paired.interval is None else list(paired.interval),
        "p_value": paired.p_value,
        "withheld": paired.withheld,
        "permutation_p_value": permuted,
        "by_patient": _by_patient(one.predictions.patients, scores, theirs, good, seed),
        "reclassification": {
            name: _reclassified(passes[0][chosen], passes[1][chosen])
            for name, chosen in (("good", good), ("bad", ~good))
        },
        "changed": _changed(one.predictions, scores, theirs, passes),
        "cautions": list(_cautions(one, other, good, paired.p_value, permuted, paired.auc, paired.other_auc)),
    }


def _joined(one: Predictions, other: Predictions) -> Ints:
    """The row of `other` for each row of `one`: int64 (n,)."""
    for predictions in (one, other):
        if len(predictions.ids) != len(predictions):
            raise UsageError("the predictions lack the column path, by which photos are joined")
        if len(set(predictions.ids)) != len(predictions.ids):
            raise UsageError("a photo is in the predictions twice")
    if missing := set(one.ids) ^ set(other.ids):
        shown = ", ".join(sorted(missing)[:_SHOWN_IDS])
        raise UsageError(f"{len(missing)} photos are in one of the predictions only, such as {shown}")
    places = {name: row for row, name in enumerate(other.ids)}
    return np.array([places[name] for name in one.ids], dtype=np.int64)


def _threshold(candidate: Candidate, scores: Floats, good: Bools) -> float:
    return youden_threshold(scores, good) if candidate.threshold is None else candidate.threshold


def _model(candidate: Candidate, scores: Floats, good: Bools, threshold: float) -> dict[str, Any]:
    counts = count_at(scores, good, threshold)
    return {
        "name": candidate.name,
        "auc": auc(scores, good),
        "threshold": threshold,
        "threshold_chosen_by": "Youden's index" if candidate.threshold is None else "given",
        **{name: getattr(counts, name).value for name in RATES},
    }


def _by_patient(
    patients: Sequence[str], scores: Floats, theirs: Floats, good: Bools, seed: int
) -> dict[str, Any] | None:
    """The interval of the difference that resamples patients; None unless a patient has several photos."""
    if len(set(patients)) == len(patients):
        return None

    def difference(rows: Ints) -> list[float]:
        labels = good[rows]
        if labels.all() or not labels.any():
            return [np.nan]
        return [auc(scores[rows], labels) - auc(theirs[rows], labels)]

    [interval] = cluster_intervals(difference, patients, seed=seed)
    return {"n_patients": len(set(patients)), "interval": None if interval is None else list(interval)}


def _permutation_p_value(scores: Floats, theirs: Floats, good: Bools, seed: int) -> float:
    """The share of random exchanges with a difference of the AUCs at least as large."""
    random = np.random.default_rng(seed)
    ranks = np.stack([rankdata(scores), rankdata(theirs)])  # (2, n)
    observed = abs(auc(ranks[0], good) - auc(ranks[1], good))
    larger = 0
    for _ in range(_PERMUTATIONS):
        exchanged = random.random(len(scores)) < 0.5
        first = np.where(exchanged, ranks[1], ranks[0])
        second = np.where(exchanged, ranks[0], ranks[1])
        larger += abs(auc(first, good) - auc(second, good)) >= observed - 1e-12
    return (larger + 1) / (_PERMUTATIONS + 1)


def _reclassified(one: Bools, other: Bools) -> dict[str, int]:
    return {
        "both_pass": int((one & other).sum()),
        "only_one_passes": int((one & ~other).sum()),
        "only_other_passes": int((~one & other).sum()),
        "both_fail": int((~one & ~other).sum()),
    }


def _changed(one: Predictions, scores: Floats, theirs: Floats, passes: Sequence[Bools]) -> list[dict[str, Any]]:
    rows = np.flatnonzero(passes[0] != passes[1])
    order = rows[np.argsort(-np.abs(scores[rows] - theirs[rows]), kind="stable")]
    return [
        {
            "photo": one.ids[row],
            "votes": float(one.votes[row]),
            "one": float(scores[row]),
            "other": float(theirs[row]),
            "passes_with": "one" if passes[0][row] else "other",
        }
        for row in order.tolist()
    ]


def _cautions(
    one: Candidate, other: Candidate, good: Bools, p_value: float | None, permuted: float, *areas: float
) -> Sequence[str]:
    """What a reader of so few photos might overlook."""
    found = [
        f"{each.name} was trained or validated on {each.trained_on} of the photos: its measures are too good"
        for each in (one, other)
        if each.trained_on
    ]
    few = min(int(good.sum()), int((~good).sum()))
    if few < _FEW and (one.threshold is None or other.threshold is None):
        found.append(f"a threshold was chosen on {few} photos of one class: with fewer than {_FEW} it varies much")
    if {0.0, 1.0} & set(areas):
        found.append("an AUC of exactly 0 or 1 says little on so few photos: see its exact interval")
    if p_value is not None and (p_value < _SIGNIFICANT) != (permuted < _SIGNIFICANT):
        found.append("DeLong's test and the permutation test disagree: take the difference as not shown")
    return found
