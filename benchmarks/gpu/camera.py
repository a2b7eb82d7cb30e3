"""Photos of a phone, drawn: 4:2:0, the entropy of a sensor's noise, orientations, one progressive file in four."""

import io
from collections.abc import Callable

import numpy as np
import pillow_heif
from PIL import Image

from triage.samples.drawing import draw_skin_photo

_NOISE = 4  # grey values; with it a photo of 12 megapixels has 2 MB at quality 85, as from a phone
_ORIENTATIONS = (1, 6, 8)


def draw_jpeg(seed: int, size: tuple[int, int]) -> bytes:
    """A JPEG of height x width pixels."""
    is_progressive = seed % 4 == 3
    return _encode(
        _draw(seed, size),
        lambda image, file, exif: image.save(
            file, "JPEG", quality=85, subsampling="4:2:0", progressive=is_progressive, exif=exif
        ),
        _ORIENTATIONS[seed % len(_ORIENTATIONS)],
    )


def draw_heic(seed: int, size: tuple[int, int]) -> bytes:
    """A HEIC of height x width pixels."""
    pillow_heif.register_heif_opener()
    return _encode(_draw(seed, size), lambda image, file, exif: image.save(file, "HEIF", quality=60, exif=exif), 1)


def _draw(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.asarray(draw_skin_photo(seed, size=size)).astype(np.int16)  # (H, W, 3)
    noise = np.random.default_rng(seed).normal(0, _NOISE, (*size, 1))
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _encode(
    image: Image.Image, save: Callable[[Image.Image, io.BytesIO, Image.Exif], object], orientation: int
) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    save(image, file, exif)
    return file.getvalue()
