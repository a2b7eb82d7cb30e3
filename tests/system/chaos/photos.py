"""Photos of one colour: bright ones are good, dark ones bad, some are unreadable, and some crash the scorer."""

import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from PIL import Image

SIDE: Final = 128


class Harm(StrEnum):
    """What a photo makes the network do."""

    KILLS = "kills"
    RAISES = "raises"
    EXHAUSTS_MEMORY = "exhausts_memory"


COLOURS: Final[Mapping[Harm, tuple[int, int, int]]] = MappingProxyType(
    {Harm.KILLS: (255, 0, 255), Harm.RAISES: (0, 255, 255), Harm.EXHAUSTS_MEMORY: (255, 255, 0)}
)


@dataclass(frozen=True)
class Photo:
    """
    Attributes:
        data: the file.
        is_good: what the verdict must be; None where there can be none.
    """

    data: bytes
    is_good: bool | None


def draw_photos(dice: random.Random, *, n: int = 20) -> list[Photo]:
    """Equal numbers of good and bad photos, and one in ten unreadable."""
    photos = []
    for number in range(n):
        is_good = number % 2 == 0
        grey = dice.randrange(150, 250) if is_good else dice.randrange(10, 100)
        photos.append(Photo(_jpeg((grey, grey, grey), comment=number), is_good))
    broken = [Photo(photos[number].data[: 200 + number], None) for number in range(max(1, n // 10))]
    return photos + broken


def draw_harmful(harm: Harm, number: int) -> Photo:
    return Photo(_jpeg(COLOURS[harm], comment=number), None)


def _jpeg(colour: tuple[int, int, int], *, comment: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), colour).save(file, "JPEG", quality=95, comment=f"{comment}".encode())
    return file.getvalue()
