"""Proportions with Wilson intervals."""

import math
from dataclasses import dataclass

from triage.statistics.confidence import Interval, Z


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


def sample_size(width: float, share: float = 0.5) -> int:
    """The smallest sample whose Wilson interval is at most this wide if this share is found.

    Args:
        width: from the lower to the upper end, above 0 and below 1.
        share: the expected share; at .5 the interval is widest.
    """
    low, high = 0, 1
    while _width(high, share) > width:
        low, high = high, 2 * high
    while high - low > 1:  # the width falls with the size
        middle = (low + high) // 2
        low, high = (middle, high) if _width(middle, share) > width else (low, middle)
    return high


def _width(n: int, share: float) -> float:
    return 2 * Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
