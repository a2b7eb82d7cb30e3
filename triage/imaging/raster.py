"""Every format that Pillow reads, HEIC through libheif included. DICOM has a module of its own."""

import io
from typing import Final

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.colour import to_rgb
from triage.imaging.formats import MediaType
from triage.imaging.limits import ImageLimits
from triage.imaging.photo import UPRIGHT, DecodedPhoto

# Pillow warns of large pictures by a process-wide constant; here each call has its own limit, checked on the header.
Image.MAX_IMAGE_PIXELS = None
pillow_heif.register_heif_opener(thumbnails=False)

_PILLOW_FORMATS: Final = {
    MediaType.JPEG: "JPEG",
    MediaType.PNG: "PNG",
    MediaType.WEBP: "WEBP",
    MediaType.HEIC: "HEIF",
    MediaType.AVIF: "AVIF",
    MediaType.TIFF: "TIFF",
    MediaType.BMP: "BMP",
    MediaType.GIF: "GIF",
}
_UNSUPPORTED: Final = ("unsupported", "not available", "not supported", "conversion from")


def open_raster(data: bytes, media_type: MediaType, limits: ImageLimits) -> Image.Image:
    """Reads the header alone: no pixel is decoded.

    Raises:
        AttachmentError: the header is damaged, or the picture outside of the limits.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[media_type]])
        n_frames = int(getattr(image, "n_frames", 1))
    except UnidentifiedImageError as error:
        raise AttachmentError(ErrorCode.CORRUPT, "the photo's header is damaged: send it again") from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder fed damaged bytes raises anything from OSError to IndexError
        raise damaged(error) from error
    check_size(image.width, image.height, n_frames, limits)
    return image


def decode_raster(data: bytes, media_type: MediaType, limits: ImageLimits) -> DecodedPhoto:
    """Decodes the primary picture of a file, which is the first one of all that Pillow shows.

    Args:
        data: the bytes of the file.
        media_type: as `sniff` told it.
        limits: checked on the header, before pixels are decoded.

    Raises:
        AttachmentError: the bytes cannot be assessed; `code` says why.
    """
    with open_raster(data, media_type, limits) as image:
        n_frames, frame = int(getattr(image, "n_frames", 1)), image.tell()
        try:
            image.load()
            orientation = orientation_of(image)
            rgb, profile = to_rgb(image)
        except MemoryError:
            raise
        except Exception as error:
            raise damaged(error) from error
    return DecodedPhoto(np.array(rgb), media_type, orientation, profile, n_frames, frame)


def orientation_of(image: Image.Image) -> int:
    """How a picture that Pillow has loaded is yet to be turned.

    HEIF and TIFF are turned by their readers, which then say that nothing is left to be done.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def check_size(width: int, height: int, n_frames: int, limits: ImageLimits) -> None:
    """
    Raises:
        AttachmentError: a limit is exceeded.
    """
    if width * height > limits.max_pixels:
        raise AttachmentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the photo has {width} x {height} pixels, {limits.max_pixels:,} are allowed: send a smaller one",
        )
    if max(width, height) > limits.max_side:
        raise AttachmentError(
            ErrorCode.SIDE_TOO_LONG,
            f"the photo has {width} x {height} pixels, no side may exceed {limits.max_side:,}: send a single photo",
        )
    if min(width, height) < limits.min_side:
        raise AttachmentError(
            ErrorCode.TOO_SMALL,
            f"the photo has {width} x {height} pixels, each side needs {limits.min_side}: send the original photo",
        )
    if n_frames > limits.max_frames:
        raise AttachmentError(
            ErrorCode.TOO_MANY_FRAMES,
            f"the file holds {n_frames:,} pictures, {limits.max_frames:,} are allowed: send a single photo",
        )


def truncated() -> AttachmentError:
    return AttachmentError(ErrorCode.TRUNCATED, "the file ends before the photo does: send it again")


def damaged(error: Exception) -> AttachmentError:
    """What a decoder's own error means for the one who sent the photo; its text is not passed on."""
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "unexpected end" in text or isinstance(error, EOFError):
        return truncated()
    if isinstance(error, NotImplementedError) or any(word in text for word in _UNSUPPORTED):
        return AttachmentError(
            ErrorCode.UNSUPPORTED_VARIANT, "this variant of the photo's format cannot be read: send it as JPEG or PNG"
        )
    return AttachmentError(ErrorCode.CORRUPT, "the photo's data is damaged: send it again")
