"""Real workers with their own Redis."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.support.deployment import eventually
from worker.embedded.redis import EmbeddedRedis
from worker.embedded.workers import EmbeddedWorkers
from worker.state_folder import EmbeddedError, StateFolder


@pytest.fixture
def state() -> Iterator[StateFolder]:
    state = StateFolder(Path(tempfile.mkdtemp(prefix="triage-test-", dir="/var/tmp")) / "state")
    EmbeddedRedis(state).start()
    yield state
    EmbeddedRedis(state).stop()
    shutil.rmtree(state.root.parent)


@pytest.fixture
def workers(state: StateFolder) -> Iterator[EmbeddedWorkers]:
    workers = EmbeddedWorkers(state, {**os.environ, "TRIAGE_HOME": str(state.root)})
    yield workers
    workers.stop()


def test_stop_ends_the_children_when_their_worker_was_killed(workers: EmbeddedWorkers) -> None:
    workers.start(["intake"])
    worker = psutil.Process(workers.running()["intake"])
    eventually(lambda: len(worker.children()) == 2)  # the child process and beat
    children = worker.children()
    worker.kill()

    workers.stop()

    assert not any(child.is_running() for child in children)
    assert workers.running() == {}


def test_exited_worker_is_restarted_without_its_old_children(
    workers: EmbeddedWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers.start(["intake"])
    worker = psutil.Process(workers.running()["intake"])
    eventually(lambda: len(worker.children()) == 2)
    children = worker.children()
    assert workers.restart_exited() == []
    worker.kill()
    eventually(lambda: workers.running() == {})

    with pytest.raises(EmbeddedError, match="the intake worker exited"):
        workers.restart_exited()
    monkeypatch.setattr("worker.embedded.workers._MIN_RUN_SECONDS", 0.0)

    assert workers.restart_exited() == ["intake"]
    assert workers.running()["intake"] != worker.pid
    assert not any(child.is_running() for child in children)
    eventually(lambda: len(psutil.Process(workers.running()["intake"]).children()) == 2)


@pytest.mark.usefixtures("ctrl_c")
def test_worker_is_recorded_when_ctrl_c_interrupts_its_start(
    workers: EmbeddedWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = subprocess.Popen(*arguments, **options)
        started.append(process.pid)
        signal.raise_signal(signal.SIGINT)
        return process

    monkeypatch.setattr("worker.embedded.workers.subprocess", SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL))
    with pytest.raises(KeyboardInterrupt):
        workers.start(["training", "intake"])

    assert workers.running() == {"training": started[0]}
    workers.stop()
    assert not psutil.pid_exists(started[0])


def test_stop_spares_a_process_when_it_has_the_id_of_an_old_worker(
    state: StateFolder, workers: EmbeddedWorkers
) -> None:
    workers.start(["intake"])
    worker = psutil.Process(workers.running()["intake"])
    noted = json.dumps([("intake", worker.pid, worker.create_time() - 1)])
    (state.root / "workers.json").write_text(noted, encoding="utf-8")

    EmbeddedWorkers(state, {}).stop()

    assert worker.is_running()
    os.killpg(worker.pid, signal.SIGKILL)
