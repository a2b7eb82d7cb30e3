"""The cores that this process may use."""

import math
import os
from pathlib import Path
from typing import Final

_CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


def cpu_limit(cpu_max: Path = _CPU_MAX) -> float:
    """Returns the CPU limit of the container, infinity if there is none. torch only sees the cores of the machine."""
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no cgroup v2, or the quota "max"
        return math.inf


def count_cores(cpu_max: Path = _CPU_MAX) -> int:
    """Returns the number of cores that this process may use, at least 1: of its affinity, or the container's limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(usable, cpu_limit(cpu_max))))
