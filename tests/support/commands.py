"""Command lines of the product in documents, Compose and Kubernetes."""

import click

from worker.cli import cli
from worker.cli.commands import GroupWithDefault


def check_command(words: list[str]) -> None:
    """Fails unless the command, its subcommand and its options exist."""
    command: click.Command = cli
    words = list(words)
    while words and isinstance(command, click.Group):
        if isinstance(command, GroupWithDefault) and words[0] not in command.commands:
            words.insert(0, "list")
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None, words
        command = found
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("-") and word != "-"} <= options | {"--help"}, words
    for argument, word in zip((p for p in command.params if isinstance(p, click.Argument)), words, strict=False):
        if isinstance(argument.type, click.Choice) and not word.startswith("-"):
            assert word in argument.type.choices
