"""Feeds damaged photos to two processes concurrently and compares their results.

Each has its unused memory filled with another byte (glibc's MALLOC_PERTURB_). Where the two see different pixels, these
came from memory that a decoder did not write: in a hospital, from another patient's photo.
"""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from tests.system.fuzz.guarantees import CONTAINED
from tests.system.fuzz.inputs import damaged_file, format_of
from triage.deadline import deadline

STALL_SECONDS: Final = 60.0
MAX_MEMORY_MB: Final = 3000
_PATTERNS: Final = ("17", "238")


@dataclass
class Found:
    """
    Attributes:
        outcomes: numbers of files with each outcome, by format.
        broken: the violated guarantee, by number of the file.
        longest_seconds: the longest time for one file.
        memory_mb: the largest memory of a process that decodes as a scorer does.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    broken: dict[int, str] = field(default_factory=dict)
    longest_seconds: float = 0.0
    memory_mb: float = 0.0


def run(first: int, last: int) -> Iterator[Found]:
    """Yields the results so far after each file."""
    found = Found()
    with closing(_outcomes(first, last, _PATTERNS[0])) as ones, closing(_outcomes(first, last, _PATTERNS[1])) as others:
        for one, other in zip(ones, others, strict=True):
            number, outcome = one["number"], one["outcome"]
            found.outcomes[format_of(damaged_file(number)[0])][outcome] += 1
            if broken := [each for each in (outcome, other["outcome"]) if each.startswith("broken")]:
                found.broken[number] = broken[0]
            elif one["digest"] != other["digest"] and not {outcome, other["outcome"]} & CONTAINED:
                found.broken[number] = "broken: pixels must not depend on earlier memory"
            elif max(one["memory_mb"], other["memory_mb"]) > MAX_MEMORY_MB:
                found.broken[number] = "broken: bounded memory"
            found.longest_seconds = max(found.longest_seconds, one["seconds"], other["seconds"])
            found.memory_mb = max(found.memory_mb, one["memory_mb"], other["memory_mb"])
            yield found


def _outcomes(first: int, last: int, pattern: str) -> Generator[dict[str, Any]]:
    """Yields one result per file. A process that dies or stalls violates a guarantee; another process continues."""
    while first < last:
        feeder = subprocess.Popen(
            [sys.executable, "-m", "tests.system.fuzz.feeder", str(first), str(last)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"MALLOC_PERTURB_": pattern},
        )
        try:
            while (line := _read_line(feeder)) is not None:
                first = line["number"] + 1
                yield line
        finally:
            feeder.kill()
            feeder.communicate()
        if first < last:
            broken = "broken: a scorer must not die or stall"
            yield {"number": first, "outcome": broken, "digest": "", "seconds": 0.0, "memory_mb": 0.0}
            first += 1


def _read_line(feeder: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    if feeder.stdout is None:
        raise ValueError("the feeder process has no pipe")
    with deadline(STALL_SECONDS, feeder.kill):
        line = feeder.stdout.readline()
    return json.loads(line) if line.endswith(b"\n") else None
