"""Option types and options that several commands share."""

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
    """A range of numbers that rejects `inf` and `nan`, which pass or evade the comparison with its ends."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class Moment(click.DateTime):
    """A date or time in one of several formats, which help texts and errors show as `written`."""

    def __init__(self, *formats: str, written: str) -> None:
        super().__init__(formats)
        self.written = written

    def get_metavar(self, *_: object, **__: object) -> str:
        return self.written

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a valid time: use {self.written}.", param, ctx)


TIMES = Moment("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", written="YYYY-MM-DD[THH:MM[:SS]]")
DAYS = FiniteRange(0, 36_500, min_open=True)
SECONDS = FiniteRange(1, 86_400)
POSITIVE = FiniteRange(0, min_open=True)
SHARE = FiniteRange(0, 1, min_open=True)
ROWS = click.IntRange(1, 1_000_000)


class _Actor(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return check_actor(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


def by_option(who: str, *, required: bool = False) -> Callable[[Command], Command]:
    """The option `--by`: the actor that the audit trail records.

    Args:
        who: the role of the actor in this command, the start of the help text.
        required: whether the option must be given; otherwise the login name is the default.
    """
    if required:
        return click.option("--by", type=_Actor(), required=True, help=f"{who}: an opaque id, stored permanently.")
    hint = f"{who}: an opaque id, stored permanently; default: the login name."
    return click.option("--by", type=_Actor(), default=login_name, help=hint)


def login_name() -> str:
    """The login name of the process's user, or `uid-<number>` if the name is missing or not a valid actor id."""
    try:
        return check_actor(getpass.getuser())
    except (KeyError, OSError, UsageError):
        return f"uid-{os.getuid()}"
