"""Checks the structure of JPEG and PNG files to decide whether the scoring process may decode them itself.

Pillow parses headers in Python, some segments in quadratic time, and libjpeg visits the whole image once per scan. A
file within the size limits can therefore take minutes. Such files are decoded in a decoder process with a time limit.
"""

import re
import struct
from itertools import islice
from typing import Final

from triage.imaging.formats import MediaType

_MAX_SEGMENTS: Final = 200  # a phone's JPEG has about 20
_MAX_CHUNKS: Final = 20_000  # a 50 MB file in chunks of 8 kB has 6,000
_MAX_HEADER_BYTES: Final = 2 * 2**20
_MAX_PIXELS: Final = 50_000_000
_MAX_COSTLY_PIXELS: Final = 16_000_000
"""Limit for PNGs whose decoding takes several times the memory of their RGB pixels."""
_MAX_WORK: Final = 500_000_000
"""Limit of pixels x scans of a JPEG: a few seconds of decoding."""

_MAX_MARKERS: Final = 20_000
"""Limit of a whole JPEG, whose markers Python reads. A phone's has about 20."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_START_OF_SCAN: Final = b"\xff\xda"
FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
STAND_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RST0 to RST7, SOI
_PNG_GREY, _PNG_RGB = 0, 2


def is_simple(data: bytes, media_type: MediaType) -> bool:
    """Returns whether decoding takes at most seconds and little more memory than the pixels. Never raises."""
    match media_type:
        case MediaType.JPEG:
            return _is_simple_jpeg(data)
        case MediaType.PNG:
            return _is_simple_png(data)
    return False


def _is_simple_jpeg(data: bytes) -> bool:
    """Accepts JPEGs of one or three components. Source: ITU-T T.81, B.1.1 and B.2."""
    position, pixels = 2, 0
    for _ in range(_MAX_SEGMENTS):
        if position > _MAX_HEADER_BYTES or position + 4 > len(data) or data[position] != 0xFF:
            return False
        marker = data[position + 1]
        if marker == 0xDA:
            return 0 < pixels <= _MAX_PIXELS and _has_few_scans(data, _MAX_WORK // pixels)
        if marker == 0xFF or marker in STAND_ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in FRAMES:
            if pixels or position + 10 > len(data) or data[position + 9] not in (1, 3):
                return False
            height, width = struct.unpack_from(">HH", data, position + 5)
            pixels = height * width
        position += 2 + length
    return False


def _has_few_scans(data: bytes, most: int) -> bool:
    """Whether a JPEG has at most this many scans and `_MAX_MARKERS` markers, those within its metadata included."""
    markers = [found[0] for found in islice(_MARKER.finditer(data), _MAX_MARKERS + 1)]
    return len(markers) <= _MAX_MARKERS and markers.count(_START_OF_SCAN) <= most


def _is_simple_png(data: bytes) -> bool:
    """Source: PNG Specification (Third Edition), 5.3 and 11.2.1."""
    if len(data) < 33:
        return False
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    is_costly = depth != 8 or colour not in (_PNG_GREY, _PNG_RGB)
    if width * height > (_MAX_COSTLY_PIXELS if is_costly else _MAX_PIXELS):
        return False
    position, others = 8, 0
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):
            return True
        (length,) = struct.unpack_from(">I", data, position)
        if data[position + 4 : position + 8] != b"IDAT":
            others += 1
            if others > _MAX_SEGMENTS or length > _MAX_HEADER_BYTES:
                return False
        position += 12 + length
    return False
