"""Beat and workers as processes, restarted by a supervisor as a service manager would do."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from worker.commands import beat_command, celery_command

_ROOT: Final = Path(__file__).resolve().parents[3]
_APP: Final = "tests.system.chaos.app"
_RESTART_SECONDS: Final = 0.3


def node_name(name: str) -> str:
    """The name of a worker for Celery, whose first half is its kind, as in production."""
    return f"{name.partition('-')[0]}@{name}"


class Parts:
    """Parts by name, such as `beat-1` or `scoring-2`; the kind precedes the hyphen. `command_of` adds other kinds."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """
        Args:
            folder: of the logs.
            environment: all variables of every part.
        """
        self.environment = dict(environment)
        self.variables_of: dict[str, dict[str, str]] = {}
        self.command_of: dict[str, list[str]] = {}
        self.logs_to: Path | None = None
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def start(self, *names: str) -> None:
        with self._lock:
            for name in names:
                self._running[name] = self._launch(name)
        if not self._supervisor.is_alive():
            self._supervisor.start()

    def parent(self, name: str) -> int:
        """The process that the service manager started."""
        with self._lock:
            return self._running[name].pid

    def child(self, name: str) -> int | None:
        """The prefork child, which does the work; None while there is none."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.parent(name)).children()
            return children[0].pid if children else None
        return None

    def restart(self, name: str, *, wait_seconds: float) -> float:
        """Sends SIGTERM and waits for the end of the part and the supervisor; returns the seconds until it ended."""
        with self._lock:
            process = self._running[name]
        started = time.monotonic()
        process.terminate()
        process.wait(wait_seconds)
        seconds = time.monotonic() - started
        while self.parent(name) == process.pid:
            time.sleep(0.05)
        return seconds

    def log(self, name: str) -> str:
        path = self._folder / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def all_logs(self) -> str:
        return "".join(self.log(path.stem) for path in self._folder.glob("*.log"))

    def close(self) -> None:
        self._stop.set()
        if self._supervisor.is_alive():
            self._supervisor.join()
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(8)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # includes children of a killed parent
            process.wait()

    def _supervise(self) -> None:
        while not self._stop.wait(_RESTART_SECONDS):
            with self._lock:
                for name, process in self._running.items():
                    if process.poll() is not None:
                        self._running[name] = self._launch(name)

    def _launch(self, name: str) -> subprocess.Popen[bytes]:
        with (self.logs_to or self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self._command(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment | self.variables_of.get(name, {}),
                cwd=_ROOT,
                start_new_session=True,
            )

    def _command(self, name: str) -> list[str]:
        if name in self.command_of:
            return self.command_of[name]
        kind = name.partition("-")[0]
        if kind == "beat":
            command = beat_command()
        else:
            command = celery_command(kind)
            command[command.index("--hostname") + 1] = node_name(name)
        command[command.index("--app") + 1] = _APP
        return command
