import re
from pathlib import Path

import pytest

import triage
from triage import errors
from triage.errors import DatabaseUnavailableError, NoLiveModelError, ServiceUnavailableError, TriageError
from worker.cli import _COMMANDS
from worker.hints import _HINTS, hint, with_hint
from worker.settings import Settings

PACKAGE = Path(triage.__file__).parent


@pytest.mark.parametrize("kind", _HINTS, ids=lambda kind: kind.__name__)
def test_hint_names_a_variable_or_a_command_that_exists(kind: type[Exception]) -> None:
    text = _HINTS[kind]

    variables = re.findall(r"TRIAGE_(\w+?)__(\w+)", text)
    commands = re.findall(r"`triage (\w+)", text)
    assert variables or commands
    for group, name in variables:
        assert name.lower() in type(getattr(Settings(), group.lower())).model_fields
    assert set(commands) <= set(_COMMANDS)
    assert "\n" not in text


def test_hint_follows_the_error_in_one_line() -> None:
    line = with_hint(DatabaseUnavailableError("Postgres does not respond: start it"))

    assert line == "Postgres does not respond: start it (set TRIAGE_DATABASE__URL or run `triage up`)"


def test_error_without_a_hint_stands_alone() -> None:
    assert hint(ServiceUnavailableError("x")) is None
    assert with_hint(TriageError("the run failed")) == "the run failed"


def test_subclass_has_the_hint_of_its_class() -> None:
    class NoModelForThisSourceError(NoLiveModelError):
        pass

    assert hint(NoModelForThisSourceError("x")) == _HINTS[NoLiveModelError]


def test_errors_with_hints_are_those_of_the_core() -> None:
    assert all(getattr(errors, kind.__name__) is kind for kind in _HINTS)


def test_core_names_no_environment_variable_and_no_command() -> None:
    """Errors and documentation of `triage` use general words; `worker/hints.py` knows variables and commands."""
    naming = re.compile(r"TRIAGE_|`triage [a-z]")

    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*"))
        if path.suffix in {".py", ".j2", ".json"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if naming.search(line)
    ]

    assert found == []
