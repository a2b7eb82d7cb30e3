"""The effect of a threshold: four counts, and rates with Wilson intervals. Rules to choose a threshold."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from triage.errors import UsageError
from triage.statistics.arrays import Bools, Floats, Ints, checked
from triage.statistics.proportions import Share

RATES: Final = ("sensitivity", "specificity", "ppv", "npv", "needless_retake_share")
"""The rates of `Counts`, by name."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The photos by score and by votes; an accepted photo is positive.

    Attributes:
        tp: good photos that pass.
        fn: good photos that fail: needless retakes.
        tn: bad photos that fail.
        fp: bad photos that pass.
    """

    tp: int
    fn: int
    tn: int
    fp: int

    @property
    def sensitivity(self) -> Share:
        """Of the good photos, those that pass."""
        return Share(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> Share:
        """Of the bad photos, those that fail."""
        return Share(self.tn, self.tn + self.fp)

    @property
    def ppv(self) -> Share:
        """Of the photos that pass, the good ones."""
        return Share(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> Share:
        """Of the photos that fail, the bad ones."""
        return Share(self.tn, self.tn + self.fn)

    @property
    def needless_retake_share(self) -> Share:
        """Of the photos that fail, the good ones: the share of retakes that are needless."""
        return Share(self.fn, self.fn + self.tn)


def count_at(scores: ArrayLike, good: ArrayLike, threshold: float) -> Counts:
    """Counts the photos at a threshold. A score at or above it is accepted.

    Args:
        scores: (n,), finite.
        good: bool (n,).
        threshold: for the scores.

    Raises:
        ValueError: the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    accepted = values >= threshold
    tp = int((accepted & labels).sum())
    n_good, n_accepted = int(labels.sum()), int(accepted.sum())
    fp = n_accepted - tp
    return Counts(tp=tp, fn=n_good - tp, tn=len(labels) - n_good - fp, fp=fp)


def youden_threshold(scores: ArrayLike, good: ArrayLike) -> float:
    """The score with the largest sensitivity + specificity - 1; of ties the highest, which passes fewest bad photos.

    O(n log n). If all photos are good, the lowest score; if all are bad, the highest.
    Youden 1950, Index for rating diagnostic tests,
    doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.

    Raises:
        ValueError: there are no photos, the shapes differ or a score is not finite.
    """
    values, labels = checked(scores, good)
    if not len(values):
        raise ValueError("there are no photos")
    thresholds, tp, fp = _cumulative_counts(values, labels)
    index = tp * max(fp[-1], 1) - fp * max(tp[-1], 1)  # integers, so that ties are exact
    return float(thresholds[np.argmax(index)])


def just_below(threshold: float) -> float:
    """The next lower float32, so that the photo at the threshold passes although scoring rounds to float32."""
    return float(np.nextafter(np.float32(threshold), np.float32(0)))


def ppv_threshold(scores: ArrayLike, good: ArrayLike, target: float) -> float:
    """The lowest score at which the PPV reaches a target, so that the fewest retakes are requested.

    O(n log n).

    Args:
        scores: (n,), finite.
        good: bool (n,).
        target: the PPV, 0..1.

    Raises:
        ValueError: there are no photos, the shapes differ or a score is not finite.
        UsageError: no threshold reaches the target.
    """
    values, labels = checked(scores, good)
    if not len(values):
        raise ValueError("there are no photos")
    thresholds, tp, fp = _cumulative_counts(values, labels)
    ppv = tp / (tp + fp)
    reached = np.flatnonzero(ppv >= target)
    if not len(reached):
        raise UsageError(
            f"no threshold reaches a PPV of {target:g}; the highest is {ppv.max():.3f}: choose a lower target"
        )
    return float(thresholds[reached[-1]])


def _cumulative_counts(values: Floats, labels: Bools) -> tuple[Floats, Ints, Ints]:
    """The k distinct scores in descending order, and the good and bad photos at or above each: (k,) each."""
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # (k,) of each run of equal scores
    tp = np.cumsum(labels[order], dtype=np.int64)[last]  # (n,) -> (k,)
    return ordered[last], tp, last + 1 - tp
