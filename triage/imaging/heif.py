"""Decodes HEIC files with libheif, which applies the turns and mirrors of the file (irot, imir) itself."""

import io
from typing import Any, Final

import numpy as np
from PIL import Image

from triage.imaging.colour import to_pixels
from triage.imaging.faults import unsupported_variant
from triage.imaging.formats import MediaType
from triage.imaging.isobmff import without_metadata
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.metadata import exif_facts
from triage.imaging.photo import DecodedPhoto
from triage.imaging.profiles import HLG, PQ, code_points_profile

try:
    import pillow_heif
except ImportError:  # an installation without x265, which is in its wheel
    pillow_heif = None  # type: ignore[assignment]

_ROWS: Final = 256  # converted together, which bounds the memory


def decode_heif(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Decodes the primary picture of a HEIC file.

    Raises:
        AttachmentError: a limit is exceeded, or libheif is not installed.
        SyntaxError: libheif does not support a feature of the file.
        Exception: any other one if the file is damaged.
    """
    if pillow_heif is None:
        raise unsupported_variant()
    file = _open(data)
    frame, n_pictures = file.primary_index, len(file)
    picture = file[frame]
    width, height = picture.size
    check_size(width, height, n_pictures, limits)
    facts: dict[str, Any] = picture.info
    nclx = facts.get("nclx_profile") or {}
    points = int(nclx.get("color_primaries", 0)), int(nclx.get("transfer_characteristics", 0))
    with memory_for(width * height * MOST_BYTES):
        pixels, profile = to_pixels(_image(picture))
    if points[1] in (PQ, HLG) or profile is None:
        profile = code_points_profile(*points) or exif_facts(facts.get("exif")).profile
    return DecodedPhoto(pixels, MediaType.HEIC, profile=profile, n_frames=n_pictures, frame=frame)


def _open(data: bytes) -> "pillow_heif.HeifFile":
    try:
        return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    except MemoryError:
        raise
    except Exception:  # damaged metadata, or a damaged file, which fails again
        return pillow_heif.open_heif(io.BytesIO(without_metadata(data)), convert_hdr_to_8bit=False)


def _image(picture: "pillow_heif.HeifImage") -> Image.Image:
    """Decodes a picture and rounds its levels to 8 bits; libheif cuts them off, which darkens PQ and HLG visibly."""
    pixels = np.asarray(picture)
    width, height = picture.size
    pixels = pixels[:height, :width]
    if pixels.dtype != np.uint8:
        facts: dict[str, Any] = picture.info
        depth = int(facts.get("bit_depth", 16))
        top = ((1 << depth) - 1) << (16 - depth)
        rounded = np.empty(pixels.shape, np.uint8)
        for start in range(0, height, _ROWS):
            rows = pixels[start : start + _ROWS].astype(np.uint32)
            rounded[start : start + _ROWS] = ((rows * 255 + top // 2) // top).clip(0, 255)
        pixels = rounded
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if profile := picture.info.get("icc_profile"):
        image.info["icc_profile"] = profile
    return image
