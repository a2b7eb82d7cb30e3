"""Formats that Pillow reads, including HEIC through libheif. See `dicom.py` for DICOM."""

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

# Pillow's limit is process-wide; `check_size` applies the limit of each call to the header instead.
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
    """Opens an image and reads its header; no pixels are decoded.

    Raises:
        AttachmentError: the header is damaged, or a limit is exceeded.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[media_type]])
        n_frames = int(getattr(image, "n_frames", 1))
    except UnidentifiedImageError as error:
        raise AttachmentError(ErrorCode.CORRUPT, "the image header is damaged: send the photo again") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything from OSError to IndexError on damaged bytes
        raise damaged(error) from error
    check_size(image.width, image.height, n_frames, limits)
    return image


def decode_raster(data: bytes, media_type: MediaType, limits: ImageLimits) -> DecodedPhoto:
    """Decodes the primary image of a file: the first one that Pillow shows.

    Args:
        data: the whole file.
        media_type: as `sniff` returned it.
        limits: checked on the header before pixels are decoded.

    Raises:
        AttachmentError: the photo cannot be assessed; `code` gives the reason.
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
    """Returns the Exif Orientation that still has to be applied to a loaded image.

    Pillow's HEIF and TIFF readers apply it themselves and reset it to 1.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def check_size(width: int, height: int, n_frames: int, limits: ImageLimits) -> None:
    """Checks the size stated in a header.

    Raises:
        AttachmentError: a limit is exceeded.
    """
    if width * height > limits.max_pixels:
        raise AttachmentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the photo has {width} x {height} pixels, the limit is {limits.max_pixels:,}: send a smaller photo",
        )
    if max(width, height) > limits.max_side:
        raise AttachmentError(
            ErrorCode.SIDE_TOO_LONG,
            f"the photo has {width} x {height} pixels, the limit per side is {limits.max_side:,}: send a single photo",
        )
    if min(width, height) < limits.min_side:
        raise AttachmentError(
            ErrorCode.TOO_SMALL,
            f"the photo has {width} x {height} pixels, each side needs {limits.min_side}: send the original photo",
        )
    if n_frames > limits.max_frames:
        raise AttachmentError(
            ErrorCode.TOO_MANY_FRAMES,
            f"the file holds {n_frames:,} images, the limit is {limits.max_frames:,}: send a single photo",
        )


def truncated() -> AttachmentError:
    return AttachmentError(ErrorCode.TRUNCATED, "the file is truncated: send the photo again")


def damaged(error: Exception) -> AttachmentError:
    """Maps a decoder's exception to an error for the sender. The exception's text is never passed on."""
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "unexpected end" in text or isinstance(error, EOFError):
        return truncated()
    if isinstance(error, NotImplementedError) or any(word in text for word in _UNSUPPORTED):
        return AttachmentError(
            ErrorCode.UNSUPPORTED_VARIANT, "unsupported variant of the image format: send the photo as JPEG or PNG"
        )
    return AttachmentError(ErrorCode.CORRUPT, "the image data is damaged: send the photo again")
