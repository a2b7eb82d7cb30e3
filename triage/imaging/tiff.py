"""Finds the picture in a TIFF file: of many directories, the first that is neither a preview nor a mask.

Sources: TIFF 6.0; TIFF Supplement 1 (SubIFDs); BigTIFF; DNG 1.7 (NewSubFileType, raw photometric interpretations).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triage.imaging.faults import corrupt, truncated, unsupported_variant
from triage.imaging.limits import ImageLimits, check_size

HEADER_BYTES: Final = 8
_SUBFILE, _OLD_SUBFILE = 254, 255
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR_CONFIGURATION, _SAMPLE_FORMAT = 277, 284, 339
_ORIENTATION, _SUB_DIRECTORIES, _ICC_PROFILE, _EXIF = 274, 330, 34675, 34665
_DATA: Final = ((273, 279), (324, 325), (513, 514))
"""Offsets and byte counts of strips, tiles and the stream of old-style JPEG."""

_DECODING: Final = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, 273, _ORIENTATION, 277, 278, 279, 284, 292, 293, 317}
    | {320, 322, 323, 324, 325, 332, 334, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533), _ICC_PROFILE}
)
"""What decoders need. All other tags are dropped, so that none of them can cost the picture."""

_INHERITED: Final = (_ORIENTATION, _ICC_PROFILE)  # a DNG states them with the preview
_JPEG, _JPEG_TABLES = 7, 347
_PAGE: Final = 2
_OLD_REDUCED: Final = 2
_RAW: Final = frozenset({32803, 34892})  # colour filter array, linear raw
_COMPRESSIONS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34676, 34677, 34925, 50000, 50001})
_SHORT, _LONG, _LONG8, _IFD8 = 3, 4, 16, 18
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_SIGNED, _FLOAT = 2, 3
_PLANAR: Final = 2
_NO_ENTRY: Final = bytes(20)
_ORIENTATIONS: Final = frozenset((number,) for number in range(1, 9))
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_UNSIGNED: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_ASPECT_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class TiffPicture:
    """
    Attributes:
        file: the same file with one directory, which describes the picture.
        n_pictures: pictures in the file, without previews and masks.
        index: of this picture among them.
        has_exif: whether the file has an Exif directory.
        is_negative: its levels are to be inverted (WhiteIsZero, which Pillow inverts for 8 bits only).
        is_deep_planar: it has uncompressed planes of 16 bits, which Pillow reads correctly through libtiff only.
        jpegs: its strips or tiles as JPEG files, if they are JPEGs.
    """

    file: bytes
    n_pictures: int
    index: int
    has_exif: bool
    is_negative: bool
    is_deep_planar: bool
    jpegs: Iterator[bytes]


def find_picture(data: bytes, limits: ImageLimits) -> TiffPicture:
    """Returns the picture to assess.

    It is the first that no tag calls a preview or a mask. If a larger one has the same proportions, the first is an
    undeclared preview, and the largest such one is taken.

    Raises:
        AttachmentError: no directory is readable, a limit is exceeded, or the picture is raw sensor data.
    """
    reader = _Reader(data)
    directories = list(reader.directories(limits.max_frames + 1))
    pictures = [directory for directory in directories if directory.width and directory.height]
    if not pictures:
        raise truncated() if reader.is_cut else corrupt("header")
    pages = [picture for picture in pictures if picture.is_page] or [max(pictures, key=lambda each: each.n_pixels)]
    first = pages[0]
    picture = max((page for page in pages if page.has_shape_of(first)), key=lambda page: page.n_pixels)
    check_size(picture.width, picture.height, len(directories), limits)
    if not picture.is_read:
        raise unsupported_variant()
    if not picture.has_data:
        raise truncated()
    file = reader.with_one_directory(picture, directories[0])
    return TiffPicture(
        file=file,
        n_pictures=len(pages),
        index=pages.index(picture),
        has_exif=_EXIF in directories[0].entries,
        is_negative=picture.is_white_zero,
        is_deep_planar=picture.is_deep_planar,
        jpegs=picture.jpegs,
    )


@dataclass(frozen=True, slots=True)
class _Directory:
    """An image file directory; `entries` holds the bytes of each entry by tag."""

    reader: "_Reader"
    entries: dict[int, bytes]
    next_offset: int

    def values(self, tag: int) -> tuple[int, ...]:
        """The unsigned integers of a tag; none if it is absent, of another type or outside the file."""
        return self.reader.values(self.entries[tag]) if tag in self.entries else ()

    def first(self, tag: int, default: int = 0) -> int:
        return next(iter(self.values(tag)), default)

    @property
    def width(self) -> int:
        return self.first(_WIDTH)

    @property
    def height(self) -> int:
        return self.first(_HEIGHT)

    @property
    def n_pixels(self) -> int:
        return self.width * self.height

    @property
    def is_page(self) -> bool:
        if _SUBFILE in self.entries:
            return not self.first(_SUBFILE) & ~_PAGE
        return self.first(_OLD_SUBFILE) != _OLD_REDUCED

    @property
    def is_read(self) -> bool:
        """Whether Pillow reads the picture correctly: no raw sensor data, signed or 32-bit integers."""
        compression, sample_format = self.first(_COMPRESSION, 1), self.first(_SAMPLE_FORMAT, 1)
        is_float = sample_format == _FLOAT
        if sample_format == _SIGNED or (is_float and self.reader.is_big_endian and compression != 1):
            return False
        is_wide = self.first(_BITS, 1) == 32 and not is_float
        return self.first(_PHOTOMETRIC) not in _RAW and compression in _COMPRESSIONS and not is_wide

    @property
    def is_white_zero(self) -> bool:
        return self.first(_PHOTOMETRIC, 1) == _WHITE_IS_ZERO and self.first(_SAMPLES, 1) == 1

    @property
    def is_deep_planar(self) -> bool:
        is_planar = self.first(_PLANAR_CONFIGURATION, 1) == _PLANAR and self.first(_SAMPLES, 1) > 1
        return is_planar and self.first(_BITS, 1) == 16 and self.first(_COMPRESSION, 1) == 1

    @property
    def has_data(self) -> bool:
        """Whether all strips or tiles are within the file."""
        return all(
            offset + count <= len(self.reader.data)
            for offsets, counts in _DATA
            for offset, count in zip(self.values(offsets), self.values(counts), strict=False)
        )

    @property
    def jpegs(self) -> Iterator[bytes]:
        """The strips or tiles, each with the tables that they share. Source: TIFF Technical Note 2."""
        if self.first(_COMPRESSION, 1) != _JPEG:
            return
        tables = (self.reader.locate(self.entries[_JPEG_TABLES]) if _JPEG_TABLES in self.entries else None) or b""
        for offsets, counts in _DATA[:2]:
            for offset, count in zip(self.values(offsets), self.values(counts), strict=False):
                part = self.reader.data[offset : offset + count]
                yield tables[:-2] + part[2:] if tables else part

    def has_shape_of(self, other: "_Directory") -> bool:
        across, along = self.width * other.height, self.height * other.width
        return abs(across - along) <= _ASPECT_TOLERANCE * along


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self._order = "<" if data.startswith(b"II") else ">"
        self._is_big = b"+" in data[2:4]  # BigTIFF
        self._offset_code, self._start = ("Q", 8) if self._is_big else ("I", 4)
        self.is_big_endian = self._order == ">"
        self.is_cut = False  # a directory lies beyond the end

    def directories(self, limit: int) -> Iterator[_Directory]:
        """Yields the directories of the chain, each followed by its subdirectories; at most `limit`."""
        pending, seen = [self._unpack(self._offset_code, self._start)], set[int]()
        while pending and len(seen) < limit:
            offset = pending.pop()
            if offset in seen or not offset:
                continue
            seen.add(offset)
            try:
                directory = self._read(offset)
            except struct.error:
                self.is_cut = True
                continue
            pending.append(directory.next_offset)
            pending += reversed(directory.values(_SUB_DIRECTORIES)[:limit])
            yield directory

    def _read(self, offset: int) -> _Directory:
        n, start = self._unpack("Q" if self._is_big else "H", offset), offset + (8 if self._is_big else 2)
        size = 20 if self._is_big else 12
        if start + n * size > len(self.data):
            raise struct.error
        entries: dict[int, bytes] = {}
        for position in range(start, start + n * size, size):
            entries.setdefault(self._unpack("H", position), self.data[position : position + size])
        end = start + n * size
        try:
            next_offset = self._unpack(self._offset_code, end)
        except struct.error:  # some writers omit the last one
            next_offset = 0
        return _Directory(self, entries, next_offset)

    def values(self, entry: bytes) -> tuple[int, ...]:
        located = self.locate(entry)
        code = _UNSIGNED.get(struct.unpack_from(self._order + "H", entry, 2)[0])
        if located is None or code is None:
            return ()
        n = len(located) // struct.calcsize(code)
        return struct.unpack(f"{self._order}{n}{code}", located)

    def locate(self, entry: bytes) -> bytes | None:
        """The bytes of an entry's value, None if its type is unknown or it lies outside the file."""
        _, kind, n = struct.unpack_from(f"{self._order}HH{self._offset_code}", entry)
        size = _SIZES.get(kind, 0) * n
        inline = 8 if self._is_big else 4
        if not size:
            return None
        if size <= inline:
            return entry[-inline:][:size]
        (offset,) = struct.unpack_from(self._order + self._offset_code, entry, len(entry) - inline)
        return self.data[offset : offset + size] if offset + size <= len(self.data) else None

    def with_one_directory(self, picture: _Directory, main: _Directory) -> bytes:
        """The file as a classic TIFF whose only directory, at the end, has the tags that decoding needs."""
        entries = {tag: entry for tag, entry in picture.entries.items() if tag in _DECODING}
        for tag in _INHERITED:
            if tag in main.entries:
                entries.setdefault(tag, main.entries[tag])
        if self.values(entries.get(_ORIENTATION, _NO_ENTRY))[:1] not in _ORIENTATIONS:
            entries.pop(_ORIENTATION, None)
        if picture.is_white_zero:
            del entries[_PHOTOMETRIC]
        classic = {tag: self._classic_value(entry) for tag, entry in entries.items()}
        values = {tag: value for tag, value in classic.items() if value is not None}
        if picture.is_white_zero:
            values[_PHOTOMETRIC] = (_SHORT, 1, struct.pack(self._order + "H", _BLACK_IS_ZERO))
        start = len(self.data) + len(self.data) % 2
        end = start + 2 + 12 * len(values) + 4
        directory, behind = struct.pack(self._order + "H", len(values)), b""
        for tag, (kind, n, value) in sorted(values.items()):
            inline = value
            if len(value) > 4:
                inline = struct.pack(self._order + "I", end + len(behind))
                behind += value + bytes(len(value) % 2)
            directory += struct.pack(self._order + "HHI4s", tag, kind, n, inline)
        head = self.data[:2] + struct.pack(self._order + "HI", 42, start)
        return b"".join((head, self.data[8:].ljust(start - 8, b"\0"), directory, bytes(4), behind))

    def _classic_value(self, entry: bytes) -> tuple[int, int, bytes] | None:
        """The type, count and bytes of an entry's value, 64-bit numbers as 32-bit ones; None if there is none."""
        value = self.locate(entry)
        _, kind, n = struct.unpack_from(f"{self._order}HH{self._offset_code}", entry)
        if value is None or _SIZES[kind] * n != len(value):
            return None
        if kind in (_LONG8, _IFD8):
            numbers = self.values(entry)
            if max(numbers) >= 1 << 32:
                raise unsupported_variant()
            return _LONG, n, struct.pack(f"{self._order}{n}I", *numbers)
        return kind, n, value

    def _unpack(self, code: str, offset: int) -> int:
        value: int = struct.unpack_from(self._order + code, self.data, offset)[0]
        return value
