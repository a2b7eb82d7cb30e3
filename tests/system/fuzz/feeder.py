"""Simulates a scorer: `python -m tests.system.fuzz.feeder FIRST LAST` prints one JSON line per file."""

import json
import logging
import resource
import sys
import time
import warnings

import structlog

from tests.system.fuzz.guarantees import ViolationError, outcome_of
from tests.system.fuzz.inputs import damaged_file
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits

LIMITS = ImageLimits(min_side=16, decode_seconds=10)


def main(first: int, last: int) -> None:
    warnings.simplefilter("ignore")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # stdout has the lines
    with Decoder(LIMITS) as decoder:
        for number in range(first, last):
            started = time.monotonic()
            try:
                outcome, digest = outcome_of(decoder, LIMITS, damaged_file(number)[1])
            except ViolationError as error:
                outcome, digest = f"broken: {error}", ""
            line = {
                "number": number,
                "outcome": outcome,
                "digest": digest,
                "seconds": time.monotonic() - started,
                "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
