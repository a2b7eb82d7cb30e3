"""Proportions with Wilson intervals."""

import math
from dataclasses import dataclass

from triage.statistics.arrays import Interval, Z


@dataclass(frozen=True, slots=True)
class Share:
    """k of n photos."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        """0..1; None where n is 0."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """Wilson's 95 % interval; None where n is 0."""
        return wilson_interval(self.k, self.n)


def wilson_interval(k: int, n: int) -> Interval | None:
    """Wilson's 95 % score interval of k of n; None where n is 0.

    Equal to `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`, whose import takes longer than most commands.
    Wilson 1927, Probable inference, the law of succession, and statistical inference,
    doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return None
    share = k / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)
