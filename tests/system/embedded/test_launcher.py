"""The `triage up` in the foreground is ended by `triage down`."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.embedded.launcher import Launcher
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
    assert list(state.root.iterdir()) == []
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
