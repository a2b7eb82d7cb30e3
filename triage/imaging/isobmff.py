"""Reads the boxes of HEIC and AVIF files. Sources: ISO/IEC 14496-12; ISO/IEC 23008-12 (HEIF)."""

import struct
from collections.abc import Iterator
from typing import Final

_METADATA: Final = (b"Exif", b"mime")
_CODINGS: Final = frozenset({b"hvc1", b"hev1", b"av01", b"grid", b"iovl", b"iden"})
_MAX_BOXES: Final = 100_000


def colour_code_points(data: bytes) -> tuple[int, int] | None:
    """ColourPrimaries and TransferCharacteristics (ITU-T H.273) of the primary picture, None if no box states them."""
    try:
        return _colour_code_points(data)
    except (struct.error, IndexError):
        return None


def _colour_code_points(data: bytes) -> tuple[int, int] | None:
    inside, primary = _meta(data)
    properties = dict(_boxes_by_name(data, *inside.get(b"iprp", (0, 0))))
    if b"ipco" not in properties or b"ipma" not in properties:
        return None
    numbered = dict(enumerate(boxes(data, *properties[b"ipco"]), start=1))
    for index in _associated(data, properties[b"ipma"][0], primary):
        name, start, end = numbered.get(index, (b"", 0, 0))
        if name == b"colr" and data[start : start + 4] == b"nclx" and end - start >= 11:
            primaries, transfer = struct.unpack_from(">HH", data, start + 4)
            return primaries, transfer
    return None


def is_other_coding(data: bytes) -> bool:
    """Whether the primary picture is known to be coded neither with HEVC nor with AV1."""
    try:
        inside, primary = _meta(data)
        codings = {item: coding for item, coding, _ in _items(data, *inside.get(b"iinf", (0, 0)))}
    except (struct.error, IndexError):
        return False
    return codings.get(primary, b"hvc1") not in _CODINGS


def without_metadata(data: bytes) -> bytes:
    """Returns the file with its Exif and XMP items hidden from readers."""
    hidden = bytearray(data)
    try:
        inside, _ = _meta(data)
        for _, kind, at in _items(data, *inside.get(b"iinf", (0, 0))):
            if kind in _METADATA:
                hidden[at : at + 4] = b"none"
    except (struct.error, IndexError):
        return data
    return bytes(hidden)


def _meta(data: bytes) -> tuple[dict[bytes, tuple[int, int]], int]:
    """The boxes of the meta box, and the number of the primary item; -1 if there is none."""
    start, end = dict(_boxes_by_name(data, 0, len(data))).get(b"meta", (0, 0))
    inside = dict(_boxes_by_name(data, start + 4, end))
    if b"pitm" not in inside:
        return inside, -1
    at = inside[b"pitm"][0]
    return inside, struct.unpack_from(">H" if data[at] == 0 else ">I", data, at + 4)[0]


def _items(data: bytes, start: int, end: int) -> Iterator[tuple[int, bytes, int]]:
    """The number, the type and the position of the type of each item in the box of item information."""
    if end:
        for name, at, _ in boxes(data, start + (6 if data[start] == 0 else 8), end):
            if name == b"infe" and data[at] in (2, 3):
                number, width = struct.unpack_from(">H" if data[at] == 2 else ">I", data, at + 4)[0], 2 * data[at] - 2
                kind = at + 4 + width + 2
                yield number, data[kind : kind + 4], kind


def is_cut(data: bytes) -> bool:
    """Whether the file ends within a box."""
    end = 0
    for _, _, end in boxes(data, 0, len(data), is_bounded=False):
        if end > len(data):
            return True
    return 0 < len(data) - end < 8


def _associated(data: bytes, start: int, item: int) -> list[int]:
    """Indexes, from 1, of the properties of an item."""
    version, is_wide = data[start], data[start + 3] & 1
    (n_entries,) = struct.unpack_from(">I", data, start + 4)
    position, indexes = start + 8, list[int]()
    for _ in range(min(n_entries, _MAX_BOXES)):
        (entry,) = struct.unpack_from(">H" if version < 1 else ">I", data, position)
        position += 2 if version < 1 else 4
        n = data[position]
        position += 1
        for _ in range(n):
            value = struct.unpack_from(">H", data, position)[0] & 0x7FFF if is_wide else data[position] & 0x7F
            position += 2 if is_wide else 1
            if entry == item:
                indexes.append(value)
    return indexes


def _boxes_by_name(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    for name, inside, to in boxes(data, start, end):
        yield name, (inside, to)


def boxes(data: bytes, start: int, end: int, *, is_bounded: bool = True) -> Iterator[tuple[bytes, int, int]]:
    """Yields the type of each box, and where its content starts and ends."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            if start + 16 > end:
                return
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        to = start + size
        yield name, start + head, min(to, end) if is_bounded else to
        start = to
