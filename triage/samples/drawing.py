"""Drawn photos for the demo, tests and documentation: close-ups of skin with a mole, sharp or degraded.

They show no patient. All randomness comes from the seed.
"""

import io
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

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


class Degradation(StrEnum):
    """Degradations, in the terms of image quality assessment."""

    DEFOCUS = "defocus"
    MOTION = "motion"
    DARK = "dark"
    OVEREXPOSED = "overexposed"
    LOW_RESOLUTION = "low_resolution"
    NOISE = "noise"
    JPEG = "jpeg"


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


def degrade(photo: Image.Image, degradation: Degradation, strength: float, seed: int = 0) -> Image.Image:
    """Applies one degradation to a photo.

    Args:
        photo: mode RGB.
        degradation: the kind of degradation.
        strength: in (0, 1], from barely visible to severe.
        seed: seed of the noise.

    Returns:
        A photo of the same size.

    Raises:
        ValueError: the strength is not in (0, 1].
    """
    _check_strength(strength)
    width, height = photo.size
    pixels = np.asarray(photo, np.float32)
    match degradation:
        case Degradation.DEFOCUS:
            return photo.filter(ImageFilter.GaussianBlur(strength * 0.015 * max(photo.size)))
        case Degradation.MOTION:
            length = max(2, round(strength * 0.05 * width))
            return _from_array(np.mean([np.roll(pixels, shift, axis=1) for shift in range(length)], axis=0))
        case Degradation.DARK:
            return _from_array(pixels * (1 - 0.9 * strength))
        case Degradation.OVEREXPOSED:
            return _from_array(pixels * (1 + 2 * strength) + 60 * strength)
        case Degradation.LOW_RESOLUTION:
            share = 1 - 0.96 * strength
            small = photo.resize((max(8, round(width * share)), max(8, round(height * share))), Image.Resampling.BOX)
            return small.resize(photo.size, Image.Resampling.BICUBIC)
        case Degradation.NOISE:
            return _from_array(pixels + np.random.default_rng(seed).normal(0, 80 * strength, pixels.shape))
        case Degradation.JPEG:
            return _recompress(photo, quality=max(1, round(30 * (1 - strength))))


def shake(photo: Image.Image, strength: float, angle: float) -> Image.Image:
    """Applies motion blur along a line.

    Args:
        photo: mode RGB.
        strength: in (0, 1]; at 1 the path is 5 % of the longer side.
        angle: direction of the path in radians from the horizontal.

    Returns:
        A photo of the same size.

    Raises:
        ValueError: the strength is not in (0, 1].
    """
    _check_strength(strength)
    pixels = np.asarray(photo, np.float32)
    steps = max(2, round(strength * 0.05 * max(photo.size)))
    path = np.arange(steps) - (steps - 1) / 2
    margin = steps // 2 + 1
    padded = np.pad(pixels, [(margin, margin), (margin, margin), (0, 0)], mode="edge")
    height, width, _ = pixels.shape
    total = np.zeros_like(pixels)
    for y, x in zip(np.rint(path * np.sin(angle)).astype(int), np.rint(path * np.cos(angle)).astype(int), strict=True):
        total += padded[margin + y : margin + y + height, margin + x : margin + x + width]
    return _from_array(total / steps)


def add_glare(photo: Image.Image, strength: float, centre: tuple[float, float]) -> Image.Image:
    """Adds the reflection of a lamp.

    Args:
        photo: mode RGB.
        strength: in (0, 1]; size of the white spot and its halo.
        centre: (y, x) as fractions of height and width.

    Returns:
        A photo of the same size.

    Raises:
        ValueError: the strength is not in (0, 1].
    """
    _check_strength(strength)
    pixels = np.asarray(photo, np.float32)
    height, width, _ = pixels.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(y - centre[0] * height, x - centre[1] * width) / min(height, width)
    light = 350 * np.exp(-((distance / (0.06 + 0.16 * strength)) ** 2))  # flat white within, soft at the border
    return _from_array(pixels + light[..., None] * np.array([1.0, 0.98, 0.94], np.float32))


def tint(photo: Image.Image, strength: float, light: tuple[float, float, float]) -> Image.Image:
    """Applies a colour cast, as of coloured light without white balance.

    Args:
        photo: mode RGB.
        strength: in (0, 1]; 1 applies the full colour of the light.
        light: (red, green, blue); only the ratios matter.

    Returns:
        A photo of the same size and about the same brightness.

    Raises:
        ValueError: the strength is not in (0, 1].
    """
    _check_strength(strength)
    gains = np.array(light, np.float32) ** strength
    return _from_array(np.asarray(photo, np.float32) * gains / gains.mean())


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


def _check_strength(strength: float) -> None:
    if not 0 < strength <= 1:
        raise ValueError(f"invalid strength {strength}: use a number above 0 and at most 1")


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


def _recompress(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return image.convert("RGB")


def _from_array(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
