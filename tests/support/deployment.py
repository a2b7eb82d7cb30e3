"""Real Celery workers over the session's Postgres and Redis, with a real VGG16 of random weights."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from sqlalchemy import text

from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from worker.commands import celery_command
from worker.services import Services
from worker.settings import Settings

Value = TypeVar("Value")

WAIT_SECONDS = 120.0


def eventually(ask: Callable[[], Value], *, wait_seconds: float = WAIT_SECONDS) -> Value:
    """Asks until the answer is true; a deadline far beyond what is needed turns a hang into a failure."""
    deadline = time.monotonic() + wait_seconds
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {answer!r} after {wait_seconds:.0f} s")
        time.sleep(0.1)
    return answer


@dataclass
class Deployment:
    """Services and workers as in production: each worker is a separate process."""

    services: Services
    environment: dict[str, str]
    folder: Path
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *kinds: str) -> None:
        """Starts workers; `intake` runs beat too."""
        for kind in kinds:
            with self.log(kind).open("ab") as log:
                self.workers[kind] = subprocess.Popen(
                    celery_command(kind, beat=kind == "intake"),
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

    def log(self, kind: str) -> Path:
        return self.folder / f"{kind}.log"

    def child(self, kind: str) -> psutil.Process | None:
        """The prefork child of a worker: the process that does the work."""
        # the intake worker has beat as a further child, which is why the others alone are asked for
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


@pytest.fixture
def deploy(settings: Settings, services: Services, model_folder: Path, tmp_path: Path) -> Callable[..., Any]:
    """A context that starts workers of the kinds given, with more settings where a test gives them, and stops them."""

    @contextmanager
    def start(*kinds: str, lease_seconds: float = 60, **more: str) -> Iterator[Deployment]:
        services.registry.add_folder(model_folder, actor="test")
        services.registry.promote("strict", actor="test")
        variables = {
            "HOME": str(settings.home),
            "DATABASE__URL": settings.database_url,
            "REDIS__KEY_PREFIX": settings.redis.key_prefix,
            "BLOBS__URL": settings.blobs_url,
            "MODELS__URL": settings.models_url,
            "INTAKE__URI_ROOTS": f'["{settings.intake.uri_roots[0]}"]',
            "INBOX__LEASE_SECONDS": str(lease_seconds),
            "TRAINING__LEASE_SECONDS": "5",
            "TRAINING__FOLDER": str(tmp_path / "runs"),
            "INBOX__SWEEP_SECONDS": "1",
            "INBOX__RETRY_BACKOFF_SECONDS": "0",
        } | more
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIAGE_")}
        environment = inherited | {f"TRIAGE_{name}": value for name, value in variables.items()}
        deployment = Deployment(services, environment, tmp_path)
        try:
            deployment.start(*kinds)
            yield deployment
        finally:
            deployment.stop()

    return start
