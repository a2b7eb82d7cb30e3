"""Decodes JPEG XL files with libjxl. Source: ISO/IEC 18181-1 (codestream), 18181-2 (container)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image

from triage.imaging.colour import to_pixels
from triage.imaging.faults import unsupported_variant
from triage.imaging.formats import MediaType
from triage.imaging.isobmff import boxes
from triage.imaging.jpeg import decode_jpeg_file
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.photo import DecodedPhoto

BARE_CODESTREAM: Final = b"\xff\x0a"
_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIZE_BITS: Final = (9, 13, 18, 30)
_HEADER_BYTES: Final = 16
_MODES: Final = frozenset({"L", "LA", "RGB", "RGBA", "I;16", "F"})


def decode_jxl(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Decodes a JPEG XL file, the first frame of an animation. A file made from a JPEG is decoded as that JPEG.

    Raises:
        AttachmentError: the photo cannot be assessed; `code` gives the reason.
        Exception: any other one if the file is damaged.
    """
    width, height = _size(data)
    check_size(width, height, 1, limits)
    try:
        from pillow_jxl import Decoder  # deferred: only decoder processes load libjxl
    except ImportError as error:
        raise unsupported_variant() from error
    with memory_for(width * height * MOST_BYTES), _panics_as_errors():
        is_jpeg, facts, content, profile, _ = Decoder(num_threads=0)(data)
    if is_jpeg:
        photo = decode_jpeg_file(bytes(content), limits)
        return DecodedPhoto(photo.pixels, MediaType.JXL, photo.orientation, photo.profile, photo.n_frames)
    if facts.mode not in _MODES:
        raise unsupported_variant()
    image = Image.frombytes(facts.mode, (facts.width, facts.height), bytes(content))
    if profile:
        image.info["icc_profile"] = bytes(profile)
    pixels, kept = to_pixels(image)
    return DecodedPhoto(pixels, MediaType.JXL, profile=kept)


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Raises RuntimeError for a panic of the binding's Rust code, whose class is not derived from Exception."""
    try:
        yield
    except (Exception, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise RuntimeError(str(error)) from error


def _size(data: bytes) -> tuple[int, int]:
    """Width and height as the header of the codestream states them. Source: ISO/IEC 18181-1, D.2 (SizeHeader)."""
    stream = data if data.startswith(BARE_CODESTREAM) else _codestream(data)
    if not stream.startswith(BARE_CODESTREAM):
        raise ValueError("the file has no codestream")
    bits, position = int.from_bytes(stream[2:_HEADER_BYTES], "little"), 0

    def take(n: int) -> int:
        nonlocal position
        position += n
        return bits >> position - n & (1 << n) - 1

    is_small = take(1)
    height = 8 * (take(5) + 1) if is_small else take(_SIZE_BITS[take(2)]) + 1
    ratio = take(3)
    if ratio:
        across, along = _RATIOS[ratio - 1]
        return height * across // along, height
    return 8 * (take(5) + 1) if is_small else take(_SIZE_BITS[take(2)]) + 1, height


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream in a container: the whole of it, or its first part behind a number."""
    for name, start, end in boxes(data, 0, len(data)):
        if name in (b"jxlc", b"jxlp"):
            start += 4 * (name == b"jxlp")
            return data[start : min(end, start + _HEADER_BYTES)]
    return b""
