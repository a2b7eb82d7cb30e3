"""The command line in this process: arguments in, exit code, stdout and stderr out."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worker.cli import main
from worker.settings import Settings


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    def complaint(self) -> str:
        """The one line on stderr."""
        [line] = self.err.splitlines()
        return line


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """This test's services in the environment; sets further variables, without `TRIAGE_`."""

    def set_variable(name: str, value: str) -> None:
        monkeypatch.setenv(f"TRIAGE_{name}", value)

    set_variable("HOME", str(settings.home))
    set_variable("DATABASE__URL", settings.database_url)
    set_variable("REDIS__KEY_PREFIX", settings.redis.key_prefix)
    set_variable("BLOBS__URL", settings.blobs_url)
    set_variable("MODELS__URL", settings.models_url)
    set_variable("INTAKE__URI_ROOTS", f'["{settings.intake.uri_roots[0]}"]')
    return set_variable


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command in this process, with the environment as it is."""

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["triage", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    return run


@pytest.fixture
def triage(environment: Callable[[str, str], None], run_command: Callable[..., Result]) -> Callable[..., Result]:
    """Runs a command in this process over this test's services."""
    return run_command
