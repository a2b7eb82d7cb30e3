"""What each threshold would mean, on the same photos."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from triage.evaluation.operating_point import RATES, Counts, count_at
from triage.statistics.arrays import Bools, Floats

_STEP: Final = 0.01


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One threshold.

    Attributes:
        requests_per_1000: of 1,000 photos, those that fail.
        in_use: it is the evaluated threshold.
    """

    threshold: float
    counts: Counts
    requests_per_1000: float
    in_use: bool

    def json(self) -> dict[str, Any]:
        """As JSON types: the counts, the rates and the requests."""
        rates = {name: getattr(self.counts, name).value for name in RATES}
        return {
            "threshold": self.threshold,
            **asdict(self.counts),
            **rates,
            "requests_per_1000": self.requests_per_1000,
            "in_use": self.in_use,
        }


def sweep(scores: Floats, good: Bools, threshold: float) -> list[SweepRow]:
    """Counts photos at thresholds from 0 to 1 in steps of 0.01, and at the one in use.

    Args:
        scores: float64 (n,), 0..1, n >= 1.
        good: bool (n,).
        threshold: the one in use.
    """
    grid = {round(step * _STEP, 2) for step in range(round(1 / _STEP) + 1)} | {threshold}
    return [_row(scores, good, each, in_use=each == threshold) for each in sorted(grid)]


def _row(scores: Floats, good: Bools, threshold: float, *, in_use: bool) -> SweepRow:
    return SweepRow(
        threshold=threshold,
        counts=count_at(scores, good, threshold),
        requests_per_1000=1000 * float(np.mean(scores < threshold)),
        in_use=in_use,
    )
