"""`triage serve` as a process, over a database of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.databases import DatabasePool
from tests.support.deployment import eventually
from tests.support.services import make_settings
from triage.clients import registration
from triage.domain.scopes import Scope
from worker.services import Services
from worker.state_folder import StateFolder

SERVE = [sys.executable, "-c", "from worker.cli import main; main()", "serve"]


@dataclass
class Served:
    """A running server.

    Attributes:
        services: over the same database and blob store.
        key: of a client with all scopes.
    """

    services: Services
    key: str
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=self.headers, timeout=60, trust_env=False, **options
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def start(environment: dict[str, str], log: Path, *arguments: str) -> tuple[subprocess.Popen[bytes], int]:
    """Starts a server; returns its process and its port."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*SERVE, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    return process, eventually(lambda: _port(process, log))


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    lines = log.read_text(encoding="utf-8").splitlines()
    assert process.poll() is None, lines
    for line in lines:
        if line.startswith("{") and (event := json.loads(line))["event"] == "part.started":
            return int(event["port"])
    return 0


@pytest.fixture(scope="module")
def serve(
    embedded: StateFolder, database_pool: DatabasePool, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """A context that starts a server with variables, such as `API__IDLE_SECONDS`, and stops it."""

    @contextmanager
    def run(*arguments: str, **variables: str) -> Iterator[Served]:
        folder = tmp_path_factory.mktemp("served")
        database = database_pool.take()
        settings = make_settings(embedded, database, folder)
        given = {
            "HOME": str(settings.home),
            "DATABASE__URL": settings.database_url,
            "REDIS__KEY_PREFIX": settings.redis.key_prefix,
            "BLOBS__URL": settings.blobs_url,
            "INTAKE__URI_ROOTS": f'["{settings.intake.uri_roots[0]}"]',
            "API__PORT": "0",
            **variables,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        environment = inherited | {f"TRIAGE_{name}": value for name, value in given.items()}
        with Services(settings) as services:
            key = registration.add(services.sessions, "ehr", list(Scope), by="test").key or ""
            process, port = start(environment, folder / "serve.log", *arguments)
            served = Served(services, key, environment, folder / "serve.log", process, port)
            try:
                yield served
            finally:
                served.process.kill()
                served.process.wait()
        database_pool.give_back(database)

    return run
