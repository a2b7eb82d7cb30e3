"""`triage health --self` beside real workers and beat that run, are stopped, stall or lose Redis."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest

from tests.support.attacks import attack
from tests.support.deployment import Deployment, eventually
from worker.commands import beat_command
from worker.services import Services

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

NOT_READY = "this process is not ready"
STOPPED = "this process does not run"


def _health(environment: dict[str, str], *options: str) -> str:
    """The line that the check prints."""
    command = [sys.executable, "-c", "from worker.cli import main; main()", "health", "--self", *options]
    environment = {name: value for name, value in environment.items() if name != "TRIAGE_TEST_FAULT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if done.stdout == "healthy\n" else 1), done
    return done.stdout.strip() or done.stderr


@contextmanager
def _beat(clinic: Deployment) -> Iterator[None]:
    with clinic.log("beat").open("ab") as log:
        beat = subprocess.Popen(
            beat_command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clinic.environment
        )
    try:
        yield
    finally:
        beat.kill()
        beat.wait()


@pytest.fixture
def nowhere(deploy: Deploy, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment whose Redis does not respond."""
    file = str(tmp_path / "heartbeat")
    with deploy(WORKER__HEARTBEAT_FILE=file, REDIS__URL="redis://127.0.0.1:1/0") as clinic:
        yield clinic


def test_worker_is_ready_when_it_runs_and_dead_while_it_is_stopped(deploy: Deploy, tmp_path: Path) -> None:
    with deploy("intake", WORKER__HEARTBEAT_FILE=str(tmp_path / "heartbeat")) as clinic:
        assert eventually(lambda: _health(clinic.environment, "--ready") == "healthy")
        worker = psutil.Process(clinic.workers["intake"].pid)

        worker.suspend()
        try:
            assert eventually(lambda: STOPPED in _health(clinic.environment, "--stall-seconds", "1"))
        finally:
            worker.resume()

        assert eventually(lambda: _health(clinic.environment, "--ready") == "healthy")


def test_worker_is_alive_and_not_ready_when_its_work_stalls(deploy: Deploy, services: Services, tmp_path: Path) -> None:
    with deploy(TEST_FAULT="wedged", WORKER__HEARTBEAT_FILE=str(tmp_path / "heartbeat")) as clinic:
        clinic.start("scoring", app="tests.support.faulty_app")
        assert eventually(lambda: _health(clinic.environment, "--ready") == "healthy")

        attack(services, "deep arguments of a drain")

        assert eventually(lambda: NOT_READY in _health(clinic.environment, "--ready", "--stall-seconds", "10"))
        assert _health(clinic.environment) == "healthy"


def test_worker_is_alive_and_not_ready_when_redis_is_unavailable(nowhere: Deployment) -> None:
    nowhere.start("intake", beat=False)

    assert eventually(lambda: _health(nowhere.environment) == "healthy")
    assert NOT_READY in _health(nowhere.environment, "--ready")


def test_beat_is_alive_and_not_ready_when_redis_is_unavailable(nowhere: Deployment) -> None:
    with _beat(nowhere):
        assert eventually(lambda: _health(nowhere.environment) == "healthy")
        assert NOT_READY in _health(nowhere.environment, "--ready")


def test_beat_is_ready_when_it_publishes(deploy: Deploy, tmp_path: Path) -> None:
    with deploy(WORKER__HEARTBEAT_FILE=str(tmp_path / "heartbeat")) as clinic, _beat(clinic):
        assert eventually(lambda: _health(clinic.environment, "--ready") == "healthy")
