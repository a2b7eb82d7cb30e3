"""The life cycle of an embedded server process: launch, discovery, readiness and stop."""

import fcntl
import importlib.util
import os
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen
from typing import ClassVar

import psutil

from triage.files.modes import opener
from worker.embedded.interrupts import deferred_signals
from worker.state_folder import EmbeddedError, StateFolder

MINIMAL_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

_POLL_SECONDS = 0.05
_STOP_SECONDS = 60.0
_KILL_SECONDS = 10.0
_FAILURE = re.compile(r"FATAL|PANIC|error:")


def find_package(name: str) -> Path | None:
    """Returns the folder of an installed top-level package without importing it."""
    spec = importlib.util.find_spec(name)
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs. A zombie counts as exited, because its launcher may never wait for it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class EmbeddedService(ABC):
    """A server process that outlives its launcher: a later launcher finds it and manages it.

    Args:
        state: the folder of its files.
        start_timeout_seconds: time for a launched server to respond, including recovery after a crash.
    """

    name: ClassVar[str]
    _children: ClassVar[list[Popen[bytes]]] = []  # kept, because a deleted Popen of a running process warns
    _stop_signal: ClassVar[signal.Signals]

    def __init__(self, state: StateFolder, *, start_timeout_seconds: float = 60.0) -> None:
        self._state = state
        self._start_timeout_seconds = start_timeout_seconds
        self._log_offset = 0

    @property
    def log(self) -> Path:
        """The log file of the server."""
        return self._state.logs / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        process = self._running()
        return process.pid if process else None

    def is_running(self) -> bool:
        """Whether the server runs, even if another process launched it."""
        return self._running() is not None

    def start(self) -> None:
        """Starts the server unless it runs, and returns once it responds.

        Raises:
            EmbeddedError: the server is not installed, exited during its start, or did not respond in time.
        """
        self._state.prepare()
        with self._lock():
            if not self.is_running():
                self._log_offset = self.log.stat().st_size if self.log.exists() else 0
                self._install()
            deadline = time.monotonic() + self._start_timeout_seconds
            while not self._start_by(deadline):
                time.sleep(_POLL_SECONDS)

    @abstractmethod
    def _find_pid(self) -> int | None:
        """Returns the process id of the server of this state folder; the caller checks whether it is alive."""

    @abstractmethod
    def _install(self) -> None:
        """Creates what a launch needs, if it is missing."""

    @abstractmethod
    def _launch(self) -> Popen[bytes]:
        """Launches the server. The caller holds the lock, and no server runs."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server accepts clients."""

    def _can_start_again(self) -> bool:
        """Whether a server that exited during its start failed for a temporary reason."""
        return False

    def _start_by(self, deadline: float) -> bool:
        """Makes one attempt to start the server. Returns False if another attempt may succeed."""
        process = self._running()
        found = process is not None
        try:
            if process is None:
                with deferred_signals():
                    child = self._launch()
                    self._children.append(child)
                    process = psutil.Process(child.pid)
            while is_alive(process):
                if self._answers():
                    return True
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"{self.name} did not respond in time: {self._last_log_line()}")
                time.sleep(_POLL_SECONDS)
            if time.monotonic() > deadline or not (found or self._can_start_again()):
                raise EmbeddedError(f"{self.name} exited during its start: {self._last_log_line()}")
        except BaseException:
            if process is not None and not found:
                self._end(process, self._stop_signal)
            raise
        return False

    def _running(self) -> psutil.Process | None:
        self._reap()
        pid = self._find_pid()
        try:
            process = psutil.Process(pid) if pid else None
        except psutil.NoSuchProcess:
            return None
        return process if process and is_alive(process) else None

    def _reap(self) -> None:
        self._children[:] = [child for child in self._children if child.poll() is None]

    def _stop(self, with_signal: signal.Signals) -> None:
        if not self.is_running():
            return
        with self._lock():
            if process := self._running():
                self._end(process, with_signal)

    def _end(self, process: psutil.Process, with_signal: signal.Signals) -> None:
        for number, seconds in ((with_signal, _STOP_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            deadline = time.monotonic() + seconds
            while is_alive(process) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            if not is_alive(process):
                self._reap()
                return
        raise EmbeddedError(f"process {process.pid} of {self.name} does not stop: read {self.log}")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Lets one launcher at a time start or stop this server. The lock of a killed launcher is released."""
        with open(self._state.logs / f".{self.name}.lock", "a", opener=opener) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _last_log_line(self) -> str:
        """The last failure in the log, or else its last line, with the path of the log."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(self._log_offset, self.log.stat().st_size - 8192))
            lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
            failures = [line for line in lines if _FAILURE.search(line)]
            if lines:
                return f"{(failures or lines)[-1].strip()} (log: {self.log})"
        return f"the log is empty: {self.log}"
