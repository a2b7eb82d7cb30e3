"""How commands are declared: `@command()` and `@group()` in place of click's own."""

from collections.abc import Callable
from typing import Any

import click


class Command(click.Command):
    """A command that configures logging from the settings before it runs; `--help` needs neither."""

    def invoke(self, ctx: click.Context) -> Any:
        from worker.logging import configure_logging  # deferred: imports structlog
        from worker.settings import load_settings  # deferred: imports pydantic-settings

        settings = load_settings()
        configure_logging(settings.log.level, settings.log.format)
        return super().invoke(ctx)


class Group(click.Group):
    """A group whose commands are declared with `@<group>.command()`."""

    command_class = Command


def command() -> Callable[[Callable[..., Any]], Command]:
    return click.command(cls=Command)


def group() -> Callable[[Callable[..., Any]], Group]:
    return click.group(cls=Group)
