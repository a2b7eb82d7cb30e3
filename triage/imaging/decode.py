"""Bytes of a photo to upright RGB, with every limit checked before a pixel is decoded."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.formats import MediaType, sniff

# Pillow warns of large pictures by a process-wide constant; here each call has its own limit, checked on the header.
Image.MAX_IMAGE_PIXELS = None

_PILLOW_FORMATS: Final = {MediaType.JPEG: "JPEG", MediaType.PNG: "PNG"}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a photo may be at the most, and at the least.

    Attributes:
        max_bytes: size of the file.
        max_pixels: width times height, as the header states them.
        min_side: shorter side in pixels; below it there is nothing to judge.
    """

    max_bytes: int = 50 * 2**20
    max_pixels: int = 100_000_000
    min_side: int = 64


@dataclass(frozen=True, slots=True)
class DecodedPhoto:
    """An upright photo: `image` has mode RGB, 8 bits a channel, EXIF orientation applied."""

    image: Image.Image
    media_type: MediaType


def decode_photo(data: bytes, limits: ImageLimits = ImageLimits()) -> DecodedPhoto:
    """Decodes one photo, JPEG or PNG, whatever its name says.

    Args:
        data: the bytes of the file.
        limits: checked on the size and the header, before pixels are decoded.

    Returns:
        The photo, upright, RGB; transparency is laid over white, 16-bit grey is scaled to 8 bits.

    Raises:
        AttachmentError: the bytes cannot be assessed; `code` says why.
    """
    media_type = _recognise(data, limits)
    with _open(data, media_type) as image:
        _check_size(image.width, image.height, limits)
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            return DecodedPhoto(_to_rgb(upright), media_type)
        except Exception as error:  # a decoder fed damaged bytes raises anything from OSError to IndexError
            raise _damaged(error) from error


def _recognise(data: bytes, limits: ImageLimits) -> MediaType:
    if not data:
        raise AttachmentError(ErrorCode.EMPTY, "the file is empty: send it again")
    if len(data) > limits.max_bytes:
        raise AttachmentError(
            ErrorCode.TOO_LARGE,
            f"the file has {len(data):,} bytes, {limits.max_bytes:,} are allowed: send a smaller one",
        )
    media_type = sniff(data)
    if media_type is None:
        raise AttachmentError(
            ErrorCode.UNKNOWN_FORMAT, "the bytes are neither JPEG nor PNG: send the photo as one of them"
        )
    return media_type


def _open(data: bytes, media_type: MediaType) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[media_type]])
    except UnidentifiedImageError as error:
        raise AttachmentError(ErrorCode.CORRUPT, "the photo's header is damaged: send it again") from error
    except Exception as error:
        raise _damaged(error) from error


def _check_size(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise AttachmentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the photo has {width} x {height} pixels, {limits.max_pixels:,} are allowed: send a smaller one",
        )
    if min(width, height) < limits.min_side:
        raise AttachmentError(
            ErrorCode.TOO_SMALL,
            f"the photo has {width} x {height} pixels, each side needs {limits.min_side}: send the original photo",
        )


def _damaged(error: Exception) -> AttachmentError:
    if "truncated" in str(error).lower():
        return AttachmentError(ErrorCode.TRUNCATED, "the file ends before the photo does: send it again")
    return AttachmentError(ErrorCode.CORRUPT, "the photo's data is damaged: send it again")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image, dtype=np.uint32) // 257  # 0..65535 to 0..255
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8), mode="L").convert("RGB")
    if image.has_transparency_data:
        photo = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return image.convert("RGB")
