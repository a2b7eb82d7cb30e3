"""Converts images of any mode to 8-bit RGB, and RGB with an ICC profile to sRGB."""

import io
from functools import lru_cache
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from triage.imaging.hdr import to_standard_range
from triage.imaging.profiles import HLG, PQ, code_points_of

_RELATIVE: Final = ImageCms.Intent.RELATIVE_COLORIMETRIC
_STRIP_PIXELS: Final = 2**21
_IN_STRIPS: Final = frozenset({"1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr"})
MAX_PROFILE_BYTES: Final = 4 * 2**20  # printer profiles, the largest in use, have about 2 MB
_SAME_LEVELS: Final = 2
"""A profile that moves no colour by more levels is sRGB."""


def to_pixels(image: Image.Image, *, strip_pixels: int = _STRIP_PIXELS) -> tuple[NDArray[np.uint8], bytes | None]:
    """Converts a loaded image of any mode to RGB.

    Common modes are converted in strips, which takes no more memory than the result and one strip.

    Returns:
        (H, W, 3), and the ICC profile that still has to be applied (None means sRGB). Transparent pixels are composited
        over white, deeper channels are scaled to 8 bits, CMYK and grey are converted by their own profile if present.
    """
    if image.mode not in _IN_STRIPS or (image.has_transparency_data and image.mode != "RGBA"):
        rgb, profile = _to_rgb(image, is_hidden=image.has_transparency_data and _is_hidden(image.convert("RGBA")))
        return np.array(rgb), profile
    width, height = image.size
    rows = max(1, strip_pixels // width)
    is_hidden = image.mode == "RGBA" and _is_hidden(image)
    pixels, profile = np.empty((height, width, 3), np.uint8), None
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        rgb, profile = _to_rgb(strip, is_hidden=is_hidden)
        pixels[top : top + rows] = np.asarray(rgb)
    return pixels, profile


def _to_rgb(image: Image.Image, *, is_hidden: bool) -> tuple[Image.Image, bytes | None]:
    profile = image.info.get("icc_profile") or None
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
        profile = None
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scale_to_8_bits(np.asarray(image))).convert("RGB"), None
    if image.mode in ("CMYK", "L") and profile and (transform := _to_srgb_transform(profile, image.mode)) is not None:
        return _apply(image, transform), None
    is_rgb = image.mode not in ("1", "L", "LA", "CMYK", "LAB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if not is_hidden:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), profile if is_rgb else None


def _is_hidden(photo: Image.Image) -> bool:
    """Whether the alpha channel of an RGBA image hides a whole picture.

    Such a channel was never meant as one: writers of 32-bit files leave it 0.
    """
    if photo.getchannel("A").getextrema() != (0, 0):
        return False
    *colours, _ = cast("list[tuple[int, int]]", photo.getextrema())
    return any(low != high for low, high in colours)


def _scale_to_8_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Scales grey of any depth to 0..255.

    Integers are scaled from 16 bits, or from their largest value if it exceeds 65535. Floats are scaled from 0..1, or
    from their own range if it is larger.
    """
    if grey.dtype.kind in "bui":
        top = 65535.0 if grey.max(initial=0) <= 65535 else float(grey.max())
        scaled: NDArray[np.uint8] = (np.clip(grey, 0, None) * (255.0 / top)).astype(np.uint8)
        return scaled
    finite = np.nan_to_num(grey.astype(np.float32), posinf=0, neginf=0)
    low, high = min(0.0, float(finite.min(initial=0))), max(1.0, float(finite.max(initial=0)))
    return ((finite - low) * (255.0 / (high - low))).astype(np.uint8)


def to_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Converts contiguous (H, W, 3) RGB from an ICC profile, such as Display P3 of phones, to sRGB.

    A profile is known by what it does to colours, never by its name. Without a usable RGB profile (absent, damaged or
    of another colour space) the pixels are taken as sRGB.
    """
    if profile is None:
        return pixels
    primaries, transfer = code_points_of(profile) or (0, 0)
    if transfer in (PQ, HLG):
        return to_standard_range(pixels, primaries, transfer)
    transform = _to_srgb_transform(profile, "RGB")
    return pixels if transform is None else np.array(_apply(Image.fromarray(pixels), transform))


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # Pillow returns None only for an in-place transform
        raise ValueError("the colour transform returned no image")
    return converted


@lru_cache(maxsize=32)
def _to_srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", _RELATIVE)
        return None if mode == "RGB" and _changes_nothing(transform) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    moved = np.asarray(_apply(Image.fromarray(colours), transform), int) - colours
    return bool(np.abs(moved).max() <= _SAME_LEVELS)
