"""Memory for the pixels of photos, used again: the page faults of new memory cost a tenth of decoding a JPEG."""

import mmap
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import prod
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Shape: TypeAlias = tuple[int, int, int]
NewPixels: TypeAlias = Callable[[Shape], NDArray[np.uint8]]
"""Returns zeros, (H, W, C)."""

_BYTES: Final = 48 * 2**20  # 16 million RGB pixels; only what photos have filled takes memory
_MOST_UNUSED: Final = 64  # more than threads that decode

_unused: Final[deque[mmap.mmap]] = deque(maxlen=_MOST_UNUSED)


def new_pixels(shape: Shape) -> NDArray[np.uint8]:
    """Returns zeros in memory of their own."""
    return np.zeros(shape, np.uint8)


def recycled_pixels(shape: Shape) -> NDArray[np.uint8]:
    """Returns zeros whose memory is overwritten and used again once the array and all its views are gone. Thread-safe.

    Large photos get memory of their own.
    """
    n_bytes = prod(shape)
    if n_bytes > _BYTES:
        return new_pixels(shape)
    try:
        memory = _unused.pop()
    except IndexError:
        memory = _map_memory()
    # views have this array as their base, since its own base is no array: each of them keeps the memory in use
    pixels: NDArray[np.uint8] = np.ndarray(shape, np.uint8, memory)
    weakref.finalize(pixels, _take_back, memory, n_bytes).atexit = False
    return pixels


def _map_memory() -> mmap.mmap:
    memory = mmap.mmap(-1, _BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        with suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _take_back(memory: mmap.mmap, n_bytes: int) -> None:
    np.frombuffer(memory, np.uint8, n_bytes).fill(0)
    _unused.append(memory)
