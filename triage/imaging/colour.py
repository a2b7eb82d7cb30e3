"""Colours of every kind to 8-bit RGB, and from there to sRGB."""

import io
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

_RELATIVE: Final = ImageCms.Intent.RELATIVE_COLORIMETRIC
_MAX_PROFILE_BYTES: Final = 4 * 2**20  # the largest in use, of printers, have about 2 MB


def to_rgb(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """A loaded picture of any mode as mode RGB.

    Returns:
        The picture and the ICC profile that its colours are still in, None where they are sRGB. Transparency is laid
        over white, deeper channels are scaled to 8 bits, CMYK goes through its own profile where it has one.
    """
    profile = image.info.get("icc_profile") or None
    if not isinstance(profile, bytes) or len(profile) > _MAX_PROFILE_BYTES:
        profile = None
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(scale_to_8_bits(np.asarray(image))).convert("RGB"), None
    if image.mode == "CMYK" and profile and (transform := _to_srgb_transform(profile, "CMYK")) is not None:
        return _apply(image, transform), None
    if image.has_transparency_data:
        photo = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    if image.mode in ("1", "L", "LA", "CMYK", "LAB"):
        profile = None  # it is none of RGB
    return image.convert("RGB"), profile


def scale_to_8_bits(grey: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey of any depth to 0..255: integers from their 16 bits, or from their largest value where that is more;
    floats from 0..1, or from their own range where they leave it.
    """
    if grey.dtype.kind in "bui":
        top = 65535.0 if grey.max(initial=0) <= 65535 else float(grey.max())
        scaled: NDArray[np.uint8] = (np.clip(grey, 0, None) * (255.0 / top)).astype(np.uint8)
        return scaled
    finite = np.nan_to_num(grey.astype(np.float32), posinf=0, neginf=0)
    low, high = min(0.0, float(finite.min(initial=0))), max(1.0, float(finite.max(initial=0)))
    return ((finite - low) * (255.0 / (high - low))).astype(np.uint8)


def to_srgb(pixels: NDArray[np.uint8], profile: bytes | None) -> NDArray[np.uint8]:
    """Converts contiguous (H, W, 3) RGB from the colours of an ICC profile, such as the Display P3 of phones, to sRGB.

    Without a profile, or with one that is damaged or of other colours, the pixels are taken as sRGB.
    """
    transform = _to_srgb_transform(profile, "RGB") if profile else None
    return pixels if transform is None else np.array(_apply(Image.fromarray(pixels), transform))


def _apply(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:  # only where it is asked to work in place
        raise ValueError("no picture came out of the colour transform")
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
