"""Device losses of the child processes of a worker, counted where its parent and each new child can see them."""

import mmap
import struct
from typing import Final

MOST_LOSSES: Final = 3
"""Losses in a row after which a new process does not help: the worker stops."""

_COUNT: Final = struct.Struct("=q")
_shared: Final = mmap.mmap(-1, _COUNT.size)


def record_loss() -> None:
    """Counts a loss of the device, from the only child of a worker."""
    _COUNT.pack_into(_shared, 0, losses() + 1)


def record_success() -> None:
    """Notes that the device has done some work."""
    _COUNT.pack_into(_shared, 0, 0)


def losses() -> int:
    """The number of losses since the device last did some work, in this process or another child of its worker."""
    count: int = _COUNT.unpack_from(_shared)[0]
    return count
