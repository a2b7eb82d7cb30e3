"""What must be known about a card, in one run: environment, exactness, speed, memory, faults, training.

    python -m benchmarks.gpu --json gpu.json --markdown gpu.md

Needs no network and no services. Each section has its share of the time. Results are written after each section, so a
run that is cut off loses only the section it was in; a section that fails is reported, and the others run.
`--device cpu --small` runs every line with a tiny network, to test this program.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import torch

from benchmarks.gpu import (
    conformance,
    environment,
    faults,
    forward,
    memory,
    report,
    stages,
    training,
    whole_way,
)
from benchmarks.gpu.run import Result, Run

_SECTIONS: Final[Mapping[str, tuple[int, Callable[[Run], Result]]]] = {
    "environment": (20, environment.measure),
    "faults": (60, faults.measure),  # in processes of their own, before this one fills the card
    "conformance": (70, conformance.measure),
    "forward": (70, forward.measure),
    "stages": (60, stages.measure),
    "whole way": (80, whole_way.measure),
    "memory": (30, memory.measure),
    "training": (70, training.measure),
}
"""By name: share of the time, and the function."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny network and one round")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all sections together")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", choices=list(_SECTIONS), default=list(_SECTIONS))
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    parser.add_argument("--markdown", type=Path, default=Path("gpu.md"))
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("PyTorch finds no GPU: check the driver, or try --device cpu --small", file=sys.stderr)
        return 2
    run = Run(device, small=arguments.small, cores=arguments.cores)
    ends = time.monotonic() + 60 * arguments.minutes
    started = time.monotonic()
    run.draw()
    print(f"photos drawn in {time.monotonic() - started:.0f} s", flush=True)
    results: dict[str, Result] = {}
    shares = {name: _SECTIONS[name][0] for name in _SECTIONS if name in arguments.only}
    for name, share in shares.items():
        left = ends - time.monotonic()
        run.deadline = time.monotonic() + left * share / sum(list(shares.values())[len(results) :])
        results[name] = _measure(name, run) if left > 0 else {"failed": "no time was left"}
        arguments.json.write_text(json.dumps(results, indent=1))
        arguments.markdown.write_text(report.markdown(results))
    return int(any("failed" in result for result in results.values()))


def _measure(name: str, run: Run) -> Result:
    started = time.monotonic()
    try:
        result = _SECTIONS[name][1](run)
    except Exception as error:  # whatever it is, the other sections run
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {error}"}
    took = time.monotonic() - started
    print(f"{name}: {took:.0f} s{', failed' * ('failed' in result)}", flush=True)
    return result | {"seconds": round(took, 1)}


if __name__ == "__main__":
    sys.exit(main())
