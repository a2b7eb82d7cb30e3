"""Celery workers as processes of their own, found again and ended even if their launcher was killed."""

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
from worker.commands import celery_command
from worker.embedded.service import is_alive
from worker.state_folder import EmbeddedState

_STOP_SECONDS: Final = 5.0


class EmbeddedWorkers:
    """The workers of one state folder. Each is noted with its start time before anything else can go wrong."""

    def __init__(self, state: EmbeddedState, environment: Mapping[str, str]) -> None:
        """
        Args:
            state: where logs and the list of workers are.
            environment: all variables of the workers.
        """
        self._state = state
        self._environment = dict(environment)
        self._children: list[subprocess.Popen[bytes]] = []

    def start(self, kinds: Sequence[str]) -> None:
        """Starts one worker of each kind, after ending those that a killed launcher left behind.

        A worker `intake` runs beat too.
        """
        self.stop()
        for kind in kinds:
            with (self._state.logs / f"{kind}.log").open("ab") as log:
                child = subprocess.Popen(
                    celery_command(kind, beat=kind == "intake"),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,  # Ctrl-C reaches the launcher alone, which ends its workers in order
                )
            self._children.append(child)
            self._note([*self._noted(), (kind, child.pid, psutil.Process(child.pid).create_time())])

    def running(self) -> dict[str, int]:
        """The process ids of the workers that run, by kind."""
        return {kind: process.pid for kind, process in self._processes()}

    def stop(self) -> None:
        """Ends the workers: SIGTERM, so that a batch in hand is finished, then SIGKILL for those that take too long.

        Nothing is lost by that: what they held comes back when its lease runs out.
        """
        workers = [process for _, process in self._processes()]
        for process in workers:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(is_alive(process) for process in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        for _, pid, created in self._noted():
            _end_session(pid, created)
        for child in self._children:
            child.wait()
        self._children.clear()
        self._file.unlink(missing_ok=True)

    @property
    def _file(self) -> Path:
        return self._state.root / "workers.json"

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = []
        for kind, pid, created in self._noted():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.create_time() == created and is_alive(process):
                    found.append((kind, process))
        return found

    def _noted(self) -> list[tuple[str, int, float]]:
        try:
            return [(kind, pid, created) for kind, pid, created in json.loads(self._file.read_text(encoding="utf-8"))]
        except (FileNotFoundError, ValueError):
            return []

    def _note(self, workers: Sequence[tuple[str, int, float]]) -> None:
        write_durably(self._file, json.dumps(workers).encode())


def _end_session(leader: int, created: float) -> None:
    """Kills what is left of a worker and its children: one that ended as it started may leave its beat behind."""
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).create_time() != created:
            return  # the number was given to another process: nothing of that session is left
    killed = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == leader and is_alive(process):
                process.kill()
                killed.append(process)
    psutil.wait_procs(killed, timeout=_STOP_SECONDS)
