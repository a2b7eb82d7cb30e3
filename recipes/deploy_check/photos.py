"""Drawn photos: most can be read, some are cut off, and bombs have nearly as many pixels as are allowed."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image

from triage.samples.drawing import draw_skin_photo

Messages: TypeAlias = dict[str, dict[str, bool | None]]
"""Per message its photos, the names of files, and whether each can be scored: None if both are right."""

_SIZE: Final = (1024, 768)
_PER_MESSAGE: Final = 2
_BOMB_SIDE: Final = 9999
_BOMBS: Final[Mapping[str, tuple[str, tuple[int, ...], dict[str, int]]]] = {
    "PNG": ("RGBA", (190, 140, 120, 200), {"compress_level": 1}),
    "WEBP": ("RGB", (190, 140, 120), {"method": 0}),
    "JPEG": ("RGB", (190, 140, 120), {"quality": 90}),
}


class Photos:
    """Writes the photos of messages into a folder that the containers read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn = [_encoded(draw_skin_photo(seed, size=_SIZE), "JPEG", quality=85) for seed in range(6)]
        self._bombs: dict[str, bytes] = {}

    def write(self, name: str, n: int) -> Messages:
        """Writes photos of a phone, one in ten of them cut off. No two files are equal."""
        messages: Messages = {}
        for number in range(n):
            data, is_readable = self._drawn[number % len(self._drawn)], number % 10 != 9
            message = messages.setdefault(f"{name}-{number // _PER_MESSAGE}", {})
            message[self._file(f"{name}-{number}", data if is_readable else data[: len(data) // 3])] = is_readable
        return messages

    def write_bombs(self, name: str, n: int) -> Messages:
        """Writes bombs, one a message, each format twice in a row, since a worker decodes two photos at a time."""
        messages: Messages = {}
        for number in range(n):
            fmt = list(_BOMBS)[number // 2 % len(_BOMBS)]
            if fmt not in self._bombs:
                mode, colour, options = _BOMBS[fmt]
                image = Image.new(mode, (_BOMB_SIDE, _BOMB_SIDE), colour)
                self._bombs[fmt] = _encoded(image, fmt, **options)
            messages[f"{name}-{number}"] = {self._file(f"{name}-{number}", self._bombs[fmt]): None}
        return messages

    def _file(self, name: str, data: bytes) -> str:
        """Writes a file that ends with its name, which makes its hash its own."""
        (self._folder / name).write_bytes(data + name.encode())
        return name


def _encoded(image: Image.Image, fmt: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()
