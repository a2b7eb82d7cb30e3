"""How commands are declared: `@command()` and `@group()` in place of click's own."""

import re
from collections.abc import Callable
from typing import Any, Final

import click

_EMPTY: Final = re.compile(r"(--[\w-]+=)?")


class Command(click.Command):
    """A command that configures logging from the settings before it runs; `--help` needs neither.

    An empty argument is refused: it stands for a variable that is not set, and as a path it is the current folder.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if any(_EMPTY.fullmatch(argument) for argument in args):
            raise click.UsageError("an argument is empty: check the variable that it comes from", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        from worker.logging import configure_logging  # deferred: imports structlog
        from worker.settings import load_settings  # deferred: imports pydantic-settings

        settings = load_settings()
        configure_logging(settings.log.level, settings.log.format)
        return super().invoke(ctx)


class Group(click.Group):
    """A group whose commands are declared with `@<group>.command()`."""

    command_class = Command


class GroupWithDefault(Group):
    """A group whose command `list` may be left out: `triage runs --limit 5` is `triage runs list --limit 5`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def command() -> Callable[[Callable[..., Any]], Command]:
    return click.command(cls=Command)


def group(*, lists: bool = False) -> Callable[[Callable[..., Any]], Group]:
    """
    Args:
        lists: whether the group without a command is its command `list`.
    """
    return click.group(cls=GroupWithDefault if lists else Group)
