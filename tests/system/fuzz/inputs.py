"""Damaged photos, each determined by its number, so that any of them can be reproduced."""

import random
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pydicom.data

from tests.support.photo_files import MAKERS
from tests.support.rare_dicom import rare_dicoms
from tests.support.rare_files import rare_files
from triage.samples.drawing import draw_skin_photo

_MAX_DICOM_BYTES: Final = 150_000
_EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@cache
def whole_files() -> Mapping[str, bytes]:
    """A small photo in every format and variant that the tests can write, and the DICOM files that pydicom ships."""
    photo = draw_skin_photo(1, size=(96, 128))
    files = {name: make(photo) for name, make in MAKERS.items()} | rare_files(photo) | rare_dicoms(photo)
    for file in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
        if file.stat().st_size <= _MAX_DICOM_BYTES:
            files[f"dicom/{file.stem}"] = file.read_bytes()
    return files


def format_of(name: str) -> str:
    """The table row of a file."""
    return name.replace("/", "-").partition("-")[0]


def damaged_file(number: int) -> tuple[str, bytes]:
    """Returns the name of a file and its bytes after one to six damages."""
    chance = random.Random(number)
    files = whole_files()
    top_level = [name for name in files if "/" not in name]
    foreign = [name for name in files if "/" in name]
    name = chance.choice(top_level if chance.random() < 0.8 else foreign)
    data = bytearray(files[name])
    for _ in range(chance.randint(1, 6)):
        if data:
            chance.choice(_DAMAGES)(data, chance)
    if chance.random() < 0.5:
        _mend_checksums(data)
    return name, bytes(data)


def _mend_checksums(png: bytearray) -> None:
    """Corrects the checksums of PNG chunks, so that damage reaches the code that reads the chunks."""
    start = 8
    while png.startswith(b"\x89PNG") and start + 12 <= len(png):
        end = start + 8 + int.from_bytes(png[start : start + 4], "big")
        if end + 4 > len(png):
            return
        png[end : end + 4] = zlib.crc32(png[start + 4 : end]).to_bytes(4, "big")
        start = end + 4


def _place(data: bytearray, chance: random.Random) -> int:
    """Picks a position; half of them are in the first kilobyte, which holds the headers."""
    return chance.randrange(min(len(data), 1024) if chance.random() < 0.5 else len(data))


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, chance: random.Random) -> None:
    data[_place(data, chance)] = chance.randrange(256)


def _set_number(data: bytearray, chance: random.Random) -> None:
    """Overwrites two or four bytes in either byte order, as sizes, counts and offsets are stored."""
    start, width = _place(data, chance), chance.choice((2, 4))
    value = chance.choice(_EDGES) & ((1 << 8 * width) - 1)
    data[start : start + width] = value.to_bytes(width, chance.choice(("big", "little")))


def _cut_off(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _cut_out(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    del data[start : start + chance.randint(1, 64)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    data[start:start] = data[start : start + chance.randint(1, 256)] * chance.choice((1, 2, 50))


def _fill(data: bytearray, chance: random.Random) -> None:
    start, length = _place(data, chance), chance.randint(1, 512)
    data[start : start + length] = bytes(chance.randbytes(1) * length)


def _splice(data: bytearray, chance: random.Random) -> None:
    other = chance.choice(list(whole_files().values()))
    data[_place(data, chance) :] = other[_place(bytearray(other), chance) :]


_DAMAGES: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    _flip_bit,
    _set_byte,
    _set_number,
    _set_number,
    _cut_off,
    _cut_out,
    _repeat,
    _fill,
    _splice,
)
