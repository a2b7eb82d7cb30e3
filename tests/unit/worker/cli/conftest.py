"""The command line in this process: arguments in, exit code, stdout and stderr out."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu.pools
import pytest

from tests.system.end_to_end.conftest import model_folder
from worker import services as process
from worker.cli import main
from worker.settings import Settings

__all__ = ["model_folder"]


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
def triage(
    environment: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """Runs a command; services are made anew for each."""

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["triage", *map(str, arguments)])
        _forget_services()
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return Result(int(exit_.value.code or 0), out, err)

    yield run
    _forget_services()


def _forget_services() -> None:
    if process.services.cache_info().currsize:
        own = process.services()
        kombu.pools.reset()  # connections are pooled by URL, for the whole process
        own.close()
    process.services.cache_clear()
