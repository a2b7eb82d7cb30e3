"""Converts images of any mode to 8-bit RGB, and RGB with an ICC profile to sRGB."""

import io
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_RELATIVE: Final = ImageCms.Intent.RELATIVE_COLORIMETRIC
MAX_PROFILE_BYTES: Final = 4 * 2**20  # printer profiles, the largest in use, have about 2 MB


def to_rgb(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """Converts a loaded image of any mode to mode RGB.

    Returns:
        The image, and the ICC profile that still has to be applied (None means sRGB). Transparent pixels are
        composited over white, deeper channels are scaled to 8 bits, CMYK is converted by its own profile if present.
    """
    profile = image.info.get("icc_profile") or None
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
        profile = None
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(scale_to_8_bits(np.asarray(image))).convert("RGB"), None
    if image.mode == "CMYK" and profile and (transform := _to_srgb_transform(profile, "CMYK")) is not None:
        return _apply(image, transform), None
    if image.has_transparency_data:
        photo = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    if image.mode in ("1", "L", "LA", "CMYK", "LAB"):
        profile = None  # the profile does not describe RGB
    return image.convert("RGB"), profile


def scale_to_8_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
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

    Without a usable RGB profile (absent, damaged or of another colour space) the pixels are taken as sRGB.
    """
    transform = _to_srgb_transform(profile, "RGB") if profile else None
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
        if mode == "RGB" and "srgb" in ImageCms.getProfileDescription(opened).lower():
            return None
        return ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), mode, "RGB", _RELATIVE)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
