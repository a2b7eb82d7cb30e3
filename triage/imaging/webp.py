"""Reads the size of a WebP file, which libwebp states only after it has allocated the picture. Source: RFC 9649."""

import struct
from typing import Final

from triage.imaging.faults import corrupt

_SIZE_MASK: Final = 0x3FFF


def read_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas.

    Raises:
        AttachmentError: the file does not begin with a picture.
        struct.error: the file ends within the header.
    """
    match data[12:16]:
        case b"VP8X":
            low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", data, 24)
            return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & _SIZE_MASK, height & _SIZE_MASK
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return (bits & _SIZE_MASK) + 1, (bits >> 14 & _SIZE_MASK) + 1
    raise corrupt("header")
