"""A `triage up` that starts or runs in the foreground is ended by `triage down`."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import psutil
import pytest

from tests.support.deployment import eventually
from worker.embedded.launcher import Launcher
from worker.embedded.postgres import EmbeddedPostgres
from worker.state_folder import EmbeddedError, StateFolder

_LAUNCHER = """
import signal, sys, time
from pathlib import Path
from worker.embedded.launcher import Launcher
from worker.state_folder import StateFolder
received = []
signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == "stubborn" else lambda *_: received.append(1))
with Launcher(StateFolder(Path(sys.argv[1]))).recorded():
    print("runs", flush=True)
    while not received:
        time.sleep(0.02)
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


def _launch(state: StateFolder, kind: str = "") -> subprocess.Popen[bytes]:
    launched = subprocess.Popen([sys.executable, "-c", _LAUNCHER, str(state.root), kind], stdout=subprocess.PIPE)
    assert launched.stdout is not None
    assert launched.stdout.readline() == b"runs\n"
    return launched


def test_launcher_has_exited_when_stop_returns(state: StateFolder) -> None:
    with _launch(state) as launched:
        Launcher(state).stop()

        assert launched.wait() == 0
    assert not (state.root / "launcher.json").exists()
    Launcher(state).stop()  # none runs


def test_launcher_that_does_not_end_is_named(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.embedded.launcher._STOP_SECONDS", 0.1)
    with _launch(state, "stubborn") as launched:
        with pytest.raises(EmbeddedError, match=rf"\(pid {launched.pid}\) still runs"):
            Launcher(state).stop()
        launched.kill()


@pytest.mark.parametrize("content", ["", "[1, 0.5]", "[]", "7"])
def test_other_process_is_left_alone_when_the_file_is_old(state: StateFolder, content: str) -> None:
    (state.root / "launcher.json").write_text(content, encoding="utf-8")

    Launcher(state).stop()


def test_second_launcher_is_refused_when_one_runs(state: StateFolder) -> None:
    with _launch(state) as launched:
        with pytest.raises(EmbeddedError, match=rf"\(pid {launched.pid}\) runs"), Launcher(state).recorded():
            pass
        launched.terminate()

        assert launched.wait() == 0


@pytest.fixture
def reachable_state() -> Iterator[StateFolder]:
    """A state folder that the user of Postgres can reach."""
    folder = Path(tempfile.mkdtemp(prefix="triage-test-", dir="/var/tmp"))
    yield StateFolder(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("options", [[], ["--detach"]])
def test_down_ends_up_when_it_still_starts(reachable_state: StateFolder, options: list[str]) -> None:
    environment = {**os.environ, "TRIAGE_HOME": str(reachable_state.root)}
    triage = str(Path(sys.executable).with_name("triage"))
    postgres = EmbeddedPostgres(reachable_state)
    reachable_state.prepare()
    with (reachable_state.logs / ".redis.lock").open("w") as lock:  # the start waits for Redis
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([triage, "up", *options], env=environment, stdout=-1, stderr=-1, text=True) as up:
            eventually(lambda: up.poll() is not None or (postgres.is_running() and _waits_for(up, lock)))

            down = subprocess.run([triage, "down"], env=environment, capture_output=True, text=True, check=False)

            out, err = up.communicate()
            assert (out, err.strip()) == ("", "triage: interrupted")
            assert up.returncode == 1
    assert (down.stdout, down.stderr, down.returncode) == ("down\n", "", 0)
    assert _processes_of(reachable_state.root) == []


def _waits_for(process: subprocess.Popen[str], file: TextIO) -> bool:
    """Whether a process has opened a file."""
    return any(opened.path == file.name for opened in psutil.Process(process.pid).open_files())


def _processes_of(home: Path) -> list[str]:
    """The processes that run in a state folder or name it: services, workers and their children."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            folders = [process.cwd(), *process.cmdline(), *process.environ().values()]
            if any(folder.startswith(str(home)) for folder in folders):
                found.append(process.name())
    return found
