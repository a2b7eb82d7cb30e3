"""Drawn photos for the demo, tests and documentation: close-ups of skin with a mole, sharp or degraded.

They show no patient. All randomness comes from the seed.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from triage.imaging.degradation import Degradation, degrade

Array = NDArray[np.float32]


class SkinTone(IntEnum):
    """Six skin tones from light to dark, after Fitzpatrick types."""

    I = 1  # noqa: E741  # Fitzpatrick types are Roman numerals
    II = 2
    III = 3
    IV = 4
    V = 5
    VI = 6


TONES: Final[dict[SkinTone, tuple[int, int, int]]] = {
    SkinTone.I: (240, 205, 188),
    SkinTone.II: (228, 186, 162),
    SkinTone.III: (207, 160, 130),
    SkinTone.IV: (172, 124, 94),
    SkinTone.V: (122, 83, 61),
    SkinTone.VI: (82, 56, 44),
}


@dataclass(frozen=True, slots=True)
class SamplePhoto:
    name: str
    image: Image.Image
    degradation: Degradation | None


@dataclass(frozen=True, slots=True)
class SampleMessage:
    message_id: str
    photos: tuple[SamplePhoto, ...]


def draw_skin_photo(seed: int, *, tone: SkinTone = SkinTone.II, size: tuple[int, int] = (720, 960)) -> Image.Image:
    """Draws a sharp close-up of skin with one mole.

    Args:
        seed: determines the photo.
        tone: the skin's colour.
        size: (height, width) in pixels.

    Returns:
        Mode RGB.
    """
    random = np.random.default_rng(seed)
    height, width = size
    relief = _relief(random, size)  # (H, W), about -1..1
    photo = np.array(TONES[tone], np.float32) * np.ones((height, width, 1), np.float32)  # (H, W, 3)
    blotches = _noise(random, size, cells=5)[..., None]
    photo *= 1 + blotches * np.array([0.05, 0.09, 0.10], np.float32)  # blood absorbs mostly green and blue
    photo *= 1 + 0.13 * relief[..., None]
    photo = _add_mole(photo, random, relief)
    photo *= _light(random, size)[..., None]
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8))
    return _add_hairs(image, random, tone)


def draw_sample_messages(seed: int = 0) -> tuple[SampleMessage, ...]:
    """Draws five sample messages: with good photos only, with good and bad ones, and with bad ones only."""
    plan: tuple[tuple[tuple[SkinTone, Degradation | None, float], ...], ...] = (
        ((SkinTone.II, None, 0), (SkinTone.II, None, 0)),
        ((SkinTone.V, None, 0), (SkinTone.V, Degradation.DEFOCUS, 0.7)),
        ((SkinTone.III, Degradation.DARK, 0.95), (SkinTone.III, Degradation.DEFOCUS, 1.0)),
        ((SkinTone.I, Degradation.OVEREXPOSED, 0.6),),
        ((SkinTone.VI, None, 0), (SkinTone.VI, Degradation.MOTION, 0.8), (SkinTone.VI, Degradation.NOISE, 0.9)),
    )
    return tuple(
        SampleMessage(
            f"message-{number}",
            tuple(_sample(seed + 100 * number + index, index, *photo) for index, photo in enumerate(photos, start=1)),
        )
        for number, photos in enumerate(plan, start=1)
    )


def _sample(seed: int, index: int, tone: SkinTone, degradation: Degradation | None, strength: float) -> SamplePhoto:
    image = draw_skin_photo(seed, tone=tone)
    name = f"photo-{index}-{degradation or 'sharp'}.jpg"
    return SamplePhoto(name, degrade(image, degradation, strength, seed) if degradation else image, degradation)


def _noise(random: np.random.Generator, size: tuple[int, int], cells: int) -> Array:
    """Returns smooth noise in about -1..1, with `cells` bumps along the shorter side."""
    height, width = size
    unit = min(size) / cells
    grid = random.uniform(-1, 1, (max(2, round(height / unit)) + 1, max(2, round(width / unit)) + 1))
    image = Image.fromarray(grid.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32)


def _relief(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """Returns the surface of skin: furrows from warped waves, and fine grain."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(size)  # unit: the shorter side
    warp_x, warp_y = (_noise(random, size, 14) * 0.016 + _noise(random, size, 40) * 0.006 for _ in range(2))
    u, v = x + warp_x, y + warp_y
    angle = random.uniform(0, np.pi)
    furrows = np.zeros(size, np.float32)
    for turn, frequency in ((0.0, 46.0), (1.05, 52.0), (2.1, 40.0)):
        phase = (u * np.cos(angle + turn) + v * np.sin(angle + turn)) * frequency * 2 * np.pi
        furrows += np.exp(-6 * (1 + np.sin(phase + 5 * _noise(random, size, 9))))
    grain = random.normal(0, 1, size).astype(np.float32)
    relief: Array = 0.35 * _noise(random, size, 90) + 0.25 * _noise(random, size, 220) + 0.12 * grain - 0.55 * furrows
    return relief


def _add_mole(photo: Array, random: np.random.Generator, relief: Array) -> Array:
    height, width = relief.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(height, width)
    centre_y, centre_x = random.uniform(0.42, 0.58), random.uniform(0.42, 0.58) * width / min(height, width)
    dy, dx = y - centre_y, (x - centre_x) * random.uniform(0.75, 1.3)
    outline = 0.09 * (1 + 0.5 * _noise(random, relief.shape, 7) + 0.2 * _noise(random, relief.shape, 30))
    depth = ((outline - np.hypot(dx, dy)) / 0.006).clip(-30, 30)
    cover = 1 / (1 + np.exp(-depth))  # 1 inside, soft at the border
    mottling = 1 + 0.35 * _noise(random, relief.shape, 28) + 0.2 * _noise(random, relief.shape, 80)
    pigment = np.array([0.52, 0.40, 0.36], np.float32) * mottling[..., None]  # share of light sent back
    shade: Array = 1 - cover[..., None] * (1 - pigment.clip(0.1, 1))
    return np.multiply(photo, shade)


def _light(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """Returns light from one side that falls off towards the corners."""
    height, width = size
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    angle = random.uniform(0, 2 * np.pi)
    light: Array = 1 + 0.10 * (x * np.cos(angle) + y * np.sin(angle)) - 0.11 * (x**2 + y**2)
    return light


def _add_hairs(image: Image.Image, random: np.random.Generator, tone: SkinTone) -> Image.Image:
    """Adds a few curved hairs, drawn at twice the size for antialiasing."""
    width, height = image.size
    layer = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(layer)
    for _ in range(random.integers(6, 12)):
        x, y = random.uniform(0, 2 * width), random.uniform(0, 2 * height)
        angle, bend = random.uniform(0, 2 * np.pi), random.uniform(-0.04, 0.04)
        points = [(x, y)]
        for _ in range(40):
            angle += bend
            x, y = x + 9 * np.cos(angle), y + 9 * np.sin(angle)
            points.append((x, y))
        draw.line(points, fill=int(random.integers(90, 190)), width=int(random.integers(2, 5)), joint="curve")
    mask = layer.resize(image.size, Image.Resampling.BOX)
    colour = (52, 36, 28) if tone < SkinTone.V else (18, 14, 12)
    return Image.composite(Image.new("RGB", image.size, colour), image, mask)
