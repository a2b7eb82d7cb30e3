"""Options and their types, so that every command asks for and bounds the same thing alike."""

import getpass
import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from triage.domain.actors import check_actor
from triage.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


class FiniteRange(click.FloatRange):
    """A range of numbers without `inf` and `nan`, which would pass every comparison with an end."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


DAYS = FiniteRange(0, 36_500, min_open=True)
SECONDS = FiniteRange(1, 86_400)
POSITIVE = FiniteRange(0, min_open=True)
SHARE = FiniteRange(0, 1, min_open=True)
ROWS = click.IntRange(1, 1_000_000)


class _Actor(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases alone
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_actor(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


def by_option(who: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Who does it, for the audit trail; whoever is logged in if it need not be given."""
    if required:
        return click.option("--by", type=_Actor(), required=True, help=f"{who}: an opaque id, kept for good.")
    hint = f"{who}: an opaque id, kept for good; the login name if not given."
    return click.option("--by", type=_Actor(), default=login_name, help=hint)


def login_name() -> str:
    """That of the process's user, or its number where it has no name that is an opaque id."""
    try:
        return check_actor(getpass.getuser())
    except (KeyError, OSError, UsageError):
        return f"uid-{os.getuid()}"
