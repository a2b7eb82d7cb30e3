"""Real Celery workers on the Postgres and Redis of the test run, with a narrow model."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import psutil
import pytest
from pydantic import BaseModel
from sqlalchemy import text

from tests.support.databases import DatabasePool
from tests.support.services import make_settings
from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from worker.commands import celery_command
from worker.services import Services
from worker.settings import SigningSettings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices

Value = TypeVar("Value")

WAIT_SECONDS = 120.0


def eventually(ask: Callable[[], Value], *, wait_seconds: float = WAIT_SECONDS) -> Value:
    """Repeats a query until its answer is true, and fails after a deadline that only a hang reaches."""
    deadline = time.monotonic() + wait_seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {wait_seconds:.0f} s")
        time.sleep(0.1)
    return answer


def signing_variables(signing: SigningSettings) -> dict[str, str]:
    """The variables of a worker with these settings, without `TRIAGE_`; none if it does not sign."""
    return {f"SIGNING__{name.upper()}": str(path) for name, path in signing if isinstance(path, Path)}


@dataclass
class Deployment:
    """Services and workers as in production: each worker is a separate process."""

    services: Services
    environment: dict[str, str]
    folder: Path
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *names: str, app: str = "worker.app", beat: bool = True) -> None:
        """Starts workers of a Celery app: `intake`, with beat if asked, or `intake-2`, another of its kind."""
        for name in names:
            kind, _, number = name.partition("-")
            command = celery_command(kind, beat=beat and name == "intake")
            if number:
                command[command.index("--hostname") + 1] = f"{kind}@{name}"
            with self.log(name).open("ab") as log:
                self.workers[name] = subprocess.Popen(
                    [app if part == "worker.app" else part for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    start_new_session=True,
                )

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        for worker in self.workers.values():
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def child(self, kind: str) -> psutil.Process | None:
        """The prefork child of a worker: the process that does the work."""
        # not for the intake worker, which has beat as a second child
        return next(iter(psutil.Process(self.workers[kind].pid).children()), None)

    def send(self, message: str, *photos: bytes) -> Acceptance:
        attachments = [IncomingAttachment(data=photo) for photo in photos]
        [acceptance] = self.services.intake.enqueue([IncomingMessage("ehr", message, attachments)])
        return acceptance

    def query(self, sql: str, **parameters: object) -> Sequence[Any]:
        with self.services.sessions() as session:
            return session.execute(text(sql), parameters).all()

    def outcome(self, message: str) -> str | None:
        """The current decision of a message, None while it has none."""
        rows = self.query(
            "SELECT d.outcome FROM message m JOIN decision d ON d.id = m.current_decision_id "
            "WHERE m.external_id = :message",
            message=message,
        )
        return rows[0].outcome if rows else None


@contextmanager
def _deployed(
    services: WorkerServices, model_folder: Path, folder: Path, kinds: Sequence[str], variables: Mapping[str, str]
) -> Iterator[Deployment]:
    """Workers of these kinds with a live model and the settings of the services; `variables` override them."""
    settings = services.settings
    services.registry.add_folder(model_folder, actor="test")
    services.registry.promote("strict", actor="test")
    variables = {
        "HOME": str(settings.home),
        "DATABASE__URL": settings.database_url,
        "REDIS__KEY_PREFIX": settings.redis.key_prefix,
        "BLOBS__URL": settings.blobs_url,
        "MODELS__URL": settings.models_url,
        "INTAKE__URI_ROOTS": f'["{settings.intake.uri_roots[0]}"]',
        "TRAINING__LEASE_SECONDS": "5",
        "TRAINING__FOLDER": str(folder / "runs"),
        "INBOX__SWEEP_SECONDS": "1",
        "INBOX__RETRY_BACKOFF_SECONDS": "0",
        **variables,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
    environment = inherited | {f"TRIAGE_{name}": value for name, value in variables.items()}
    deployment = Deployment(services, environment, folder)
    try:
        deployment.start(*kinds)
        yield deployment
    finally:
        deployment.stop()


@pytest.fixture
def deploy(services: WorkerServices, model_folder: Path, tmp_path: Path) -> Callable[..., Any]:
    """A context that starts workers of the given kinds, with further variables, and stops them."""

    def start(*kinds: str, lease_seconds: float = 60, **variables: str) -> AbstractContextManager[Deployment]:
        variables = {"INBOX__LEASE_SECONDS": str(lease_seconds), **variables}
        return _deployed(services, model_folder, tmp_path, kinds, variables)

    return start


@pytest.fixture(scope="module")
def deploy_for_module(
    embedded: StateFolder, database_pool: DatabasePool, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Deployment]]:
    """As `deploy`, for all tests of a module. Keyword arguments replace groups of the senders' settings."""

    @contextmanager
    def start(
        *names: str, variables: Mapping[str, str] = MappingProxyType({}), **changes: BaseModel
    ) -> Iterator[Deployment]:
        folder = tmp_path_factory.mktemp("deployment")
        database = database_pool.take()
        settings = make_settings(embedded, database, folder)
        with (
            WorkerServices(settings.model_copy(update=changes)) as services,
            _deployed(services, model_folder, folder, names, variables) as deployment,
        ):
            yield deployment
        database_pool.give_back(database)

    return start


@pytest.fixture(scope="module")
def shared_deployment(
    deploy_for_module: Callable[..., AbstractContextManager[Deployment]],
) -> Iterator[Deployment]:
    """A scoring and an intake worker for all tests of a module. Leases last 5 s."""
    with deploy_for_module("scoring", "intake", variables={"INBOX__LEASE_SECONDS": "5"}) as deployment:
        yield deployment
