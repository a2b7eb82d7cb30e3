"""Signs of progress, from the process that runs the tasks of a worker to the process that watches it."""

import mmap
import struct
import time
from typing import Final

_MOMENT: Final = struct.Struct("=q")
_shared: Final = mmap.mmap(-1, _MOMENT.size)
"""Memory that a worker shares with the child process that it forks."""


def record_progress() -> None:
    """Shows the worker of this process that work moves: call it at the start and the end of each step of a task.

    It costs less than a microsecond, may be called from any thread, and has no effect outside a worker.
    """
    _MOMENT.pack_into(_shared, 0, time.monotonic_ns())


def last_progress() -> int:
    """A number that changes with each `record_progress` in this process or its child processes."""
    moment: int = _MOMENT.unpack_from(_shared)[0]
    return moment
