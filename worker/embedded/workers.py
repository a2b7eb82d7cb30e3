"""Celery workers as separate processes, which can be found and stopped even after their launcher was killed."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from triage.files.atomic import write_durably
from triage.files.modes import opener
from worker.commands import celery_command
from worker.embedded.interrupts import deferred_signals
from worker.embedded.service import is_alive
from worker.state_folder import EmbeddedError, StateFolder

_STOP_SECONDS: Final = 5.0
_MIN_RUN_SECONDS: Final = 60.0


class EmbeddedWorkers:
    """The workers of one state folder. A file holds their process ids and start times."""

    def __init__(self, state: StateFolder, environment: Mapping[str, str]) -> None:
        """
        Args:
            state: holds the logs and the list of workers.
            environment: all environment variables of the workers.
        """
        self._state = state
        self._environment = dict(environment)
        self._children: list[subprocess.Popen[bytes]] = []
        self._launched: dict[str, float] = {}  # by kind, in seconds of the monotonic clock

    def start(self, kinds: Sequence[str]) -> None:
        """Starts one worker of each kind, after stopping the workers of a killed launcher.

        The `intake` worker also runs beat.
        """
        self.stop()
        for kind in kinds:
            self._launch(kind)

    def restart_exited(self) -> list[str]:
        """Starts each worker again that this launcher started and that has exited; returns their kinds.

        Raises:
            EmbeddedError: a worker ran for less than a minute, so that starting it again would not help.
        """
        exited = sorted(self._launched.keys() - self.running().keys())
        for kind in exited:
            if time.monotonic() - self._launched[kind] < _MIN_RUN_SECONDS:
                raise EmbeddedError(f"the {kind} worker exited: read {self._log(kind)}")
            recorded = self._recorded()
            for other, pid, created in recorded:
                if other == kind:
                    _end_session(pid, created)
            self._record([entry for entry in recorded if entry[0] != kind])
            self._launch(kind)
        return exited

    def running(self) -> dict[str, int]:
        """Returns the process ids of the running workers, by kind."""
        return {kind: process.pid for kind, process in self._processes()}

    def stop(self) -> None:
        """Stops the workers: SIGTERM lets the current batch finish, then SIGKILL ends those that take too long.

        No photo is lost: those of a killed worker return to the inbox when their lease expires.
        """
        workers = [process for _, process in self._processes()]
        for process in workers:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(is_alive(process) for process in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        for _, pid, created in self._recorded():
            _end_session(pid, created)
        for child in self._children:
            child.wait()
        self._children.clear()
        self._launched.clear()
        self._file.unlink(missing_ok=True)

    def _log(self, kind: str) -> Path:
        return self._state.logs / f"{kind}.log"

    def _launch(self, kind: str) -> None:
        with open(self._log(kind), "ab", opener=opener) as log, deferred_signals():
            child = subprocess.Popen(
                celery_command(kind, beat=kind == "intake"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches only the launcher, which stops its workers in order
            )
            self._launched[kind] = time.monotonic()
            self._children = [*(other for other in self._children if other.poll() is None), child]
            self._record([*self._recorded(), (kind, child.pid, psutil.Process(child.pid).create_time())])

    @property
    def _file(self) -> Path:
        return self._state.root / "workers.json"

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = []
        for kind, pid, created in self._recorded():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created and is_alive(process):
                    found.append((kind, process))
        return found

    def _recorded(self) -> list[tuple[str, int, float]]:
        try:
            return [(kind, pid, created) for kind, pid, created in json.loads(self._file.read_text(encoding="utf-8"))]
        except (FileNotFoundError, ValueError):
            return []

    def _record(self, workers: Sequence[tuple[str, int, float]]) -> None:
        write_durably(self._file, json.dumps(workers).encode())


def _end_session(leader: int, created: float) -> None:
    """Kills the remaining processes of a worker's session: a worker that exits at its start can leave beat running."""
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).create_time() != created:
            return  # another process has this id now, so the session has ended
    killed = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and is_alive(process):
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_STOP_SECONDS)
