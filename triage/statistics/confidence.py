"""The confidence of every interval. Without numpy, so that reports need not import it."""

from statistics import NormalDist
from typing import Final, TypeAlias

Interval: TypeAlias = tuple[float, float]

CONFIDENCE: Final = 0.95
"""Of every interval."""

Z: Final = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
"""Half the width of a 95 % interval, in standard errors: 1.96."""
