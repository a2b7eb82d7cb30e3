"""Types of options, so that every command bounds the same thing alike."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range of numbers, which `nan` is not: it would pass every comparison with an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


DAYS = FiniteRange(0, 36_500, min_open=True)
SECONDS = FiniteRange(1, 86_400)
ROWS = click.IntRange(1, 1_000_000)
