"""A `triage up` that starts the parts, or runs in the foreground: `triage down` ends it before the parts."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from triage.files.atomic import write_durably
from worker.embedded.service import is_alive
from worker.state_folder import EmbeddedError, StateFolder

_STOP_SECONDS: Final = 60.0
"""It stops the workers, Redis and Postgres before it exits."""


class Launcher:
    """The launcher of one state folder. A file holds its process id and start time."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Lets others find this process until the end of the block.

        Raises:
            EmbeddedError: another launcher runs.
        """
        if other := self._running():
            raise EmbeddedError(f"another `triage up` (pid {other.pid}) runs: end it with `triage down`")
        self._state.prepare()
        write_durably(self._file, json.dumps([os.getpid(), psutil.Process().create_time()]).encode())
        try:
            yield
        finally:
            self._file.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ends the launcher, which stops its parts, and returns once it has exited. Has no effect if none runs.

        Raises:
            EmbeddedError: it still runs after a minute.
        """
        process = self._running()
        if process is None:
            return
        process.terminate()
        psutil.wait_procs([process], timeout=_STOP_SECONDS)
        if is_alive(process):
            raise EmbeddedError(f"`triage up` (pid {process.pid}) still runs: press Ctrl-C there, or kill it")

    def _running(self) -> psutil.Process | None:
        try:
            pid, created = json.loads(self._file.read_text(encoding="utf-8"))
            process = psutil.Process(pid)
            return process if process.create_time() == created and is_alive(process) else None
        except (FileNotFoundError, ValueError, TypeError, psutil.NoSuchProcess):
            return None

    @property
    def _file(self) -> Path:
        return self._state.root / "launcher.json"
