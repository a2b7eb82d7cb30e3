"""Decodes BMP files whose pixels are packed by bit masks; Pillow reads a few of these layouts only.

Source: Microsoft, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER; [MS-WMF] 2.1.1.7 (BI_ALPHABITFIELDS).
"""

import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.imaging.faults import corrupt, truncated

_UNCOMPRESSED, _BITFIELDS, _ALPHA_BITFIELDS = 0, 3, 6
_READ: Final = frozenset({_UNCOMPRESSED, 1, 2, _BITFIELDS, _ALPHA_BITFIELDS})
_CORE_HEADER: Final = 12
_MASKS_AT: Final = 54  # behind, or within, the 40 bytes that all later headers begin with


@dataclass(frozen=True, slots=True)
class BmpHeader:
    """
    Attributes:
        height: of a picture stored from the top it is negative in the file, here never.
        offset: where the pixels start.
    """

    width: int
    height: int
    is_top_down: bool
    bits: int
    compression: int
    offset: int
    header_bytes: int

    @property
    def is_read(self) -> bool:
        return self.compression in _READ and self.bits in (1, 2, 4, 8, 16, 24, 32)

    @property
    def is_packed(self) -> bool:
        return self.compression in (_BITFIELDS, _ALPHA_BITFIELDS) and self.bits in (16, 24, 32)

    @property
    def row_bytes(self) -> int:
        return (self.width * self.bits + 31) // 32 * 4

    def is_cut(self, data: bytes) -> bool:
        """Whether the file ends before its pixels do."""
        is_plain = self.compression == _UNCOMPRESSED or self.is_packed
        return is_plain and self.offset + self.row_bytes * self.height > len(data)


def read_header(data: bytes) -> BmpHeader:
    """
    Raises:
        AttachmentError: the header is damaged.
    """
    if len(data) < 54:
        raise truncated()
    offset, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return BmpHeader(width, height, False, bits, _UNCOMPRESSED, offset, header_bytes)
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if width <= 0 or height == 0:
        raise corrupt("header")
    return BmpHeader(width, abs(height), height < 0, bits, compression, offset, header_bytes)


def decode_packed(data: bytes, header: BmpHeader) -> Image.Image:
    """Decodes pixels that are packed by bit masks.

    Returns:
        Mode RGBA if the file has a mask for alpha, else RGB.

    Raises:
        AttachmentError: the pixels are incomplete, or the masks are impossible.
    """
    if header.is_cut(data):
        raise truncated()
    has_alpha = header.compression == _ALPHA_BITFIELDS or header.header_bytes >= 56
    masks = struct.unpack_from("<4I" if has_alpha else "<3I", data, _MASKS_AT)
    if not any(masks):
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)[: len(masks)]
    if masks[-1] == 0:
        masks = masks[:3]
    rows = np.frombuffer(data, np.uint8, header.row_bytes * header.height, header.offset)
    rows = rows.reshape(header.height, -1)[:, : header.width * header.bits // 8]
    packed = _as_integers(rows, header.bits)
    pixels = np.stack([_channel(packed, mask) for mask in masks], axis=-1)
    return Image.fromarray(np.ascontiguousarray(pixels if header.is_top_down else pixels[::-1]))


def _as_integers(rows: NDArray[np.uint8], bits: int) -> NDArray[Any]:
    if bits == 24:
        blue, green, red = (rows[:, start::3].astype(np.uint32) for start in range(3))
        return red << 16 | green << 8 | blue
    return np.ascontiguousarray(rows).view(np.dtype("<u2") if bits == 16 else np.dtype("<u4"))


def _channel(packed: NDArray[Any], mask: int) -> NDArray[np.uint8]:
    """The bits of a mask, scaled to 0..255."""
    if not mask:
        return np.zeros(packed.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    top = mask >> shift
    if top & (top + 1):
        raise corrupt("header")
    values = (packed >> shift) & top
    if top == 255:
        return values.astype(np.uint8)
    return (values * np.float32(255 / top) + np.float32(0.5)).clip(0, 255).astype(np.uint8)
