"""Numbered steps of the demos that run on this machine, as printed."""

from itertools import count

from worker.cli.tables import Styled, print_line

_numbers = count(1)


def step(what: str, detail: str) -> None:
    """Prints the next step."""
    print_line(Styled(f"{next(_numbers):2}.", "green"), f"{what}: {detail}")
