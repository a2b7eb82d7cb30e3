"""Feeds damaged photos to the decoders and prints the results; exits with 1 if a guarantee was violated."""

import argparse
import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from tests.system.fuzz.guarantees import CONTAINED
from tests.system.fuzz.run import Found, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000, help="number of damaged photos")
    parser.add_argument("--first", type=int, default=0, help="number of the first photo")
    arguments = parser.parse_args()
    found = Found()
    for number, found in enumerate(run(arguments.first, arguments.first + arguments.inputs)):
        if number % 1000 == 999:
            print(f"{number + 1} photos, {len(found.broken)} guarantees violated", file=sys.stderr)
    show(found)
    return 1 if found.broken else 0


def show(found: Found) -> None:
    table = Table("format", "inputs", "decoded", "refused", "contained", "broken", box=None, header_style="bold")
    for name, outcomes in sorted(found.outcomes.items()):
        contained, broken = (sum(n for key, n in outcomes.items() if test(key)) for test in (_is_contained, _is_broken))
        decoded = outcomes["decoded"]
        refused = outcomes.total() - decoded - contained - broken
        table.add_row(name, *map(str, (outcomes.total(), decoded, refused, contained, broken)))
    Console().print(table)
    codes = sum(found.outcomes.values(), Counter())
    print(", ".join(f"{code} {n}" for code, n in codes.most_common()))
    print(f"longest {found.longest_seconds:.1f} s; peak memory of a scorer {found.memory_mb:.0f} MB")
    for number, violation in found.broken.items():
        print(f"{violation}: reproduce with --first {number} --inputs 1")


def _is_contained(outcome: str) -> bool:
    return outcome in CONTAINED


def _is_broken(outcome: str) -> bool:
    return outcome.startswith("broken")


if __name__ == "__main__":
    sys.exit(main())
