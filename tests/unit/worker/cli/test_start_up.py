"""`--version` and every `--help` import click and little else. For running commands see `tests/system/end_to_end`."""

import json
import subprocess
import sys

import click
import pytest

from benchmarks.startup import HEAVY
from worker.cli import _COMMANDS, cli
from worker.cli.commands import Command, Group

LATEST = ("train", "rescore", "runs")
"""Their options take defaults from a pydantic model, so their help may import pydantic; they run last."""

RUN_HELP = f"""
import contextlib, io, json, sys
from worker.cli import cli

def help_of(*names):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        cli.main([*names, "--help"], standalone_mode=False)
    return out.getvalue()

def imported():
    return [name for name in {HEAVY!r} if name in sys.modules]

found = {{}}
help_of()
modules = {{name for name in sys.modules if name.startswith("worker.cli.")}} - {{"worker.cli.tables"}}  # prints errors
found["commands imported by triage --help"] = sorted(modules)
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    cli.main(["--version"])
for names in json.load(sys.stdin):
    assert "Usage: " in help_of(*names)
    found[" ".join(names)] = imported()
json.dump(found, sys.stdout)
"""


def _commands() -> list[tuple[str, ...]]:
    """Every command and group as its words; those of `LATEST` at the end."""
    names = sorted(_COMMANDS, key=lambda name: name in LATEST)
    context = click.Context(cli)
    found: list[tuple[str, ...]] = []
    for name in names:
        command = cli.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


def test_help_imports_nothing_heavy() -> None:
    commands = _commands()

    ended = subprocess.run(
        [sys.executable, "-c", RUN_HELP], input=json.dumps(commands), capture_output=True, text=True, check=True
    )

    found = json.loads(ended.stdout)
    assert found.pop("commands imported by triage --help") == []
    assert len(found) == len(commands) > len(_COMMANDS)
    assert found == {" ".join(names): ["pydantic"] if names[0] in LATEST else [] for names in commands}


@pytest.mark.parametrize("name", _COMMANDS)
def test_command_configures_logging_when_it_runs(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert isinstance(command, Command | Group)
    if isinstance(command, Group):
        assert all(isinstance(inner, Command) for inner in command.commands.values())


@pytest.mark.parametrize("name", _COMMANDS)
def test_list_of_commands_has_a_line_that_fits_a_terminal(name: str) -> None:
    line = _COMMANDS[name].help

    assert line.endswith(".")
    assert len(line) <= 66
