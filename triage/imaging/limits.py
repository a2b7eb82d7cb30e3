"""What a photo may be at the most, and at the least."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Checked before pixels are decoded; the last two bound a decoding that is under way.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height, as the header states them.
        min_side: shorter side in pixels; below it there is nothing to judge.
        max_side: longer side in pixels.
        max_frames: pictures in one file.
        decode_seconds: of wall time, wherever a photo is decoded in a process of its own.
        decode_memory_bytes: address space of such a process.
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 64
    max_side: int = 30_000
    max_frames: int = 2_000
    decode_seconds: float = 20.0
    decode_memory_bytes: int = 2 * 2**30
