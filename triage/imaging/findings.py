"""Placeholder until the fitted measures land."""

import numpy as np
from numpy.typing import NDArray

from triage.domain import Finding


def measure_findings(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> tuple[Finding, ...]:
    return ()
