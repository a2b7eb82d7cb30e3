"""Degradations of photos, as phones, lenses and light cause them: for drawn photos, tests, recipes and pretraining."""

import io
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter


class Degradation(StrEnum):
    """Degradations, in the terms of image quality assessment."""

    DEFOCUS = "defocus"
    MOTION = "motion"
    DARK = "dark"
    OVEREXPOSED = "overexposed"
    LOW_RESOLUTION = "low_resolution"
    NOISE = "noise"
    JPEG = "jpeg"


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


def _check_strength(strength: float) -> None:
    if not 0 < strength <= 1:
        raise ValueError(f"invalid strength {strength}: use a number above 0 and at most 1")


def _recompress(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return image.convert("RGB")


def _from_array(pixels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
