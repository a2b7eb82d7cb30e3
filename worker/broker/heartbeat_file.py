"""A file in which a worker or beat shows that it runs and that its work moves, for the probes of its own container.

It needs neither Postgres nor Redis. It holds two times of the monotonic clock, which the processes of a machine share.
"""

import mmap
import struct
import threading
import time
from pathlib import Path
from typing import Final

import structlog

from triage.errors import UsageError

log = structlog.get_logger(__name__)

_TIMES: Final = struct.Struct("=qq")
"""When the process last ran, and when its work last moved, in nanoseconds; 0 for never."""

_INTERVAL_SECONDS: Final = 5.0


class HeartbeatFile:
    """The file of this process, or none: then the methods have no effect."""

    def __init__(self, path: Path | None) -> None:
        """Opens the file. If that fails, logs a warning: the process does its work, and its probes fail.

        Args:
            path: of the file; its folder must exist.
        """
        self._times: mmap.mmap | None = None
        if path is None:
            return
        try:
            # mapped, so that a heartbeat needs no space on a file system that has become full
            with path.open("w+b") as file:
                file.write(_TIMES.pack(0, 0))
                file.flush()
                self._times = mmap.mmap(file.fileno(), _TIMES.size)
        except (OSError, ValueError) as error:
            log.warning("heartbeat_file.unavailable", error_type=type(error).__name__)

    def start(self) -> None:
        """Shows from now on, from a thread, that this process runs."""
        if self._times is not None:
            self._record(0)
            threading.Thread(target=self._run, name="heartbeat", daemon=True).start()

    def work_moves(self) -> None:
        """Shows that the process is connected, and that its work moves or that there is none."""
        if self._times is not None:
            self._record(1)

    def _run(self) -> None:
        while True:
            time.sleep(_INTERVAL_SECONDS)
            self._record(0)

    def _record(self, position: int) -> None:
        if self._times is not None:
            struct.pack_into("=q", self._times, 8 * position, time.monotonic_ns())


def find_problem(path: Path, after_seconds: float, *, is_ready: bool) -> str | None:
    """Returns one line if the process of this file does not run, or None.

    Args:
        path: of the file.
        after_seconds: age from which a heartbeat is too old.
        is_ready: its work must move too, or there must be none.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    except OSError as error:
        raise UsageError("the heartbeat file cannot be read: run this check as the user of the worker") from error
    ran, moved = _TIMES.unpack(data) if len(data) == _TIMES.size else (0, 0)
    if _is_old(ran, after_seconds):
        return "this process does not run: it has recorded no heartbeat"
    if is_ready and _is_old(moved, after_seconds):
        return "this process is not ready: it is starting, Redis does not respond, or its work does not move"
    return None


def _is_old(moment: int, after_seconds: float) -> bool:
    age = (time.monotonic_ns() - moment) / 1e9
    return moment == 0 or not 0 <= age <= after_seconds  # a time to come is that of an earlier start of the machine
