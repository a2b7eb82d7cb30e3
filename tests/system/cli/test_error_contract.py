"""Every command, with any arguments, ends in a documented exit code and at most one line of error."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.command_line import Result
from tests.support.hostile import IDS, SECRET, paths, process_texts
from triage.storage.role_names import MIGRATOR, WORKER
from worker.cli import cli
from worker.state_folder import StateFolder

pytestmark = pytest.mark.long

STARTING: Final = {"demo", "worker", "beat", "metrics", "serve", "console"}
"""Commands that become a server if their arguments are right: here they get a wrong one."""

SLOW: Final = {"doctor", "score", "evaluate", "label-next"}
"""Commands that load torch or wait for answers of workers."""

ACCOUNT: Final = re.compile(r"\d+ photos? read: ")
"""The line with which `score --json` accounts for all files; stdout has the document."""

LEAKS: Final = (
    "Traceback",
    "internal error",
    "SELECT ",
    "INSERT ",
    "UPDATE ",
    "DELETE ",
    "psycopg.",
    "sqlalche.me",
    SECRET,
)


def commands(group: click.Group = cli, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, found in click's own tree."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name), command


def _valid(parameter: click.Parameter, places: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Values that the parameter's type accepts."""
    kind = parameter.type
    if parameter.name == "timeout":
        return st.just("0")
    if isinstance(kind, click.Choice):
        return st.sampled_from(list(map(str, kind.choices)))
    if isinstance(kind, click.types.UUIDParameterType):
        return st.sampled_from(list(map(str, IDS)))
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        return st.sampled_from(["1", "2", "0.5", *(str(end) for end in (kind.min, kind.max) if end is not None)])
    if isinstance(kind, click.DateTime):
        return st.sampled_from(["0001-01-01", "2026-01-01", "9999-12-31"])
    return places | st.sampled_from(["m-1", "starter", "strict", "a-1", "1:" + "0" * 64])


@st.composite
def arguments(
    draw: st.DrawFn, name: tuple[str, ...], command: click.Command, places: st.SearchStrategy[str]
) -> list[str]:
    options: list[str] = ["--no-such-option"] if name[0] in STARTING else []
    positional: list[str] = []
    hostile = process_texts()
    for parameter in command.params:
        value = _valid(parameter, places) | hostile
        if isinstance(parameter, click.Argument):
            count = draw(st.integers(0, 3)) if parameter.nargs != 1 else 1
            positional += [draw(value) for _ in range(count)]
        elif parameter.name != "wait" and draw(st.booleans()):
            flag = draw(st.sampled_from([*parameter.opts, *parameter.secondary_opts]))
            is_flag = isinstance(parameter, click.Option) and parameter.is_flag
            options += [flag] if is_flag else [flag, draw(value)]
    if not draw(st.integers(0, 9)):
        options.append(draw(hostile))
    return [*name, *options, *(["--"] if draw(st.booleans()) else []), *positional]


def check(result: Result) -> None:
    """The contract of all commands."""
    lines = result.err.split("\n")
    assert lines.pop() == ""
    errors = [line for line in lines if not _is_log(line) and not (result.code == 0 and ACCOUNT.match(line))]
    assert result.code in {0, 1, 2, 3}
    assert not errors if result.code == 0 else (len(errors) == 1 and errors[0].startswith("triage: "))
    assert not [leak for leak in LEAKS if leak in result.err]
    assert all(character.isprintable() for line in lines for character in line)


def _is_log(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("name", "command"), [pytest.param(name, command, id=" ".join(name)) for name, command in commands()]
)
def test_every_command_keeps_the_error_contract_when_its_arguments_are_hostile(
    name: tuple[str, ...],
    command: click.Command,
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    embedded: StateFolder,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    places = paths(folder)
    environment("SCORER__ENGINE", "torch")
    environment("ROLES__WORKER_PASSWORD", SECRET)

    @settings(
        suppress_health_check=list(HealthCheck),
        max_examples=settings().max_examples // (30 if name[0] in SLOW else 3),
    )
    @given(line=arguments(name, command, places), role=st.sampled_from([WORKER, MIGRATOR]))
    def fuzz(line: list[str], role: str) -> None:
        environment("DATABASE__URL", embedded.database_url(database, role=role).replace("@", f":{SECRET}@", 1))
        result = triage(*line)
        if name == ("doctor",) and result.code in {1, 3} and not result.err:
            return  # its table says what is wrong
        check(result)

    fuzz()
