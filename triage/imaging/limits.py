"""Limits of size, pixels, frames, decoding time and memory."""

from dataclasses import dataclass


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
