"""Rates of several ways to do the same work, and their table."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table


def seconds(step: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def show(rates: Mapping[str, Sequence[float]], *, reference: str, columns: tuple[str, str, str]) -> None:
    """Prints the median and the slowest round of each way, and its ratio to a reference.

    Args:
        rates: of each round, by way.
        reference: the way that counts as 1.
        columns: titles of the ways, the medians and the ratios.
    """
    way, median, ratio = columns
    table = Table(way, median, "slowest round", ratio, box=None, pad_edge=False)
    one = statistics.median(rates[reference])
    for name, found in rates.items():
        middle = statistics.median(found)
        table.add_row(name, f"{middle:,.0f}", f"{min(found):,.0f}", f"{middle / one:.2f}")
    Console().print(table)
