"""Limits of size, pixels, frames, decoding time and memory."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from triage.errors import AttachmentError, ErrorCode

MOST_BYTES: Final = 32
"""Upper limit of the memory per pixel that decoding takes. Measured: 24 in JPEG 2000, 21 in WebP and JPEG XL."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits checked before pixels are decoded; `decode_seconds` and `decode_memory_bytes` apply while decoding.

    Attributes:
        max_bytes: largest file.
        max_pixels: largest width x height stated in the header.
        min_side: shortest allowed side in pixels.
        max_side: longest allowed side in pixels.
        max_frames: most images in one file.
        decode_seconds: wall time for one photo in a decoder process.
        decode_memory_bytes: address space of a decoder process.
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 64
    max_side: int = 30_000
    max_frames: int = 2_000
    decode_seconds: float = 20.0
    decode_memory_bytes: int = 2 * 2**30


def check_size(width: int, height: int, n_frames: int, limits: ImageLimits) -> None:
    """Checks the size stated in a header.

    Raises:
        AttachmentError: a limit is exceeded.
    """
    if width * height > limits.max_pixels:
        raise AttachmentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the photo has {width} x {height} pixels, the limit is {limits.max_pixels:,}: send a smaller photo",
        )
    if max(width, height) > limits.max_side:
        raise AttachmentError(
            ErrorCode.SIDE_TOO_LONG,
            f"the photo has {width} x {height} pixels, the limit per side is {limits.max_side:,}: send a single photo",
        )
    if min(width, height) < limits.min_side:
        raise AttachmentError(
            ErrorCode.TOO_SMALL,
            f"the photo has {width} x {height} pixels, each side needs {limits.min_side}: send the original photo",
        )
    if n_frames > limits.max_frames:
        raise AttachmentError(
            ErrorCode.TOO_MANY_FRAMES,
            f"the file holds {n_frames:,} images, the limit is {limits.max_frames:,}: send a single photo",
        )


@contextmanager
def memory_for(n_bytes: int) -> Iterator[None]:
    """Reports a failure within as a lack of memory if less than this was free before.

    Most libraries report a failed allocation as they report damaged data. What succeeds is not affected.

    Args:
        n_bytes: the most that decoding can take.

    Raises:
        MemoryError: instead of any other exception but AttachmentError.
    """
    is_enough = _is_free(n_bytes)
    try:
        yield
    except (AttachmentError, MemoryError):
        raise
    except Exception as error:
        if is_enough:
            raise
        raise MemoryError from error


def _is_free(n_bytes: int) -> bool:
    """Whether the limit of the address space allows it. The mapping takes no memory."""
    try:
        mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except OSError:
        return False
    return True
