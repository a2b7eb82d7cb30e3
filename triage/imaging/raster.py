"""Decodes every format but DICOM to RGB. Only what the picture needs is read, so damaged metadata never costs it."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from triage.errors import AttachmentError
from triage.imaging import bmp, isobmff, png, tiff, webp
from triage.imaging.colour import to_pixels
from triage.imaging.faults import corrupt, truncated, unsupported_variant
from triage.imaging.formats import MediaType
from triage.imaging.heif import decode_heif
from triage.imaging.jpeg import check_damage, decode_jpeg_file
from triage.imaging.jxl import BARE_CODESTREAM, decode_jxl
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.memory import NewPixels, new_pixels
from triage.imaging.metadata import UPRIGHT, ExifFacts, exif_facts
from triage.imaging.photo import DecodedPhoto
from triage.imaging.profiles import HLG, PQ, code_points_profile

# Pillow's limit is process-wide; `check_size` applies the limit of each call to the header instead.
Image.MAX_IMAGE_PIXELS = None

_PILLOW_FORMATS: Final = {
    MediaType.PNG: "PNG",
    MediaType.WEBP: "WEBP",
    MediaType.AVIF: "AVIF",
    MediaType.TIFF: "TIFF",
    MediaType.BMP: "BMP",
    MediaType.GIF: "GIF",
}


def decode_raster(
    data: bytes, media_type: MediaType, limits: ImageLimits, memory: NewPixels = new_pixels
) -> DecodedPhoto:
    """Decodes the picture of a file that is to be assessed: docs/photos.md says which one of several.

    Args:
        data: the whole file.
        media_type: as `sniff` returned it.
        limits: checked on the header before pixels are decoded.
        memory: provides the zeros that a JPEG is decoded into.

    Raises:
        AttachmentError: the photo cannot be assessed; `code` gives the reason.
    """
    with _faults(data, media_type):
        match media_type:
            case MediaType.JPEG:
                return decode_jpeg_file(data, limits, memory)
            case MediaType.HEIC:
                return decode_heif(data, limits)
            case MediaType.JXL:
                return decode_jxl(data, limits)
            case MediaType.PNG:
                return _decode_png(data, limits)
            case MediaType.TIFF:
                return _decode_tiff(data, limits)
            case MediaType.BMP:
                return _decode_bmp(data, limits)
            case MediaType.AVIF:
                return _decode_avif(data, limits)
            case MediaType.WEBP:
                return _decode_webp(data, limits)
        return _decode_pillow(data, media_type, limits)


def _decode_png(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    parts = png.read_parts(data)
    check_size(parts.width, parts.height, parts.n_pictures, limits)
    with _open(parts.picture, MediaType.PNG, limits) as image:
        if parts.profile:
            image.info["icc_profile"] = parts.profile
        return _photo(image, MediaType.PNG, exif_facts(parts.exif), parts.n_pictures)


def _decode_tiff(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Pillow turns the picture upright itself."""
    found = tiff.find_picture(data, limits)
    facts = exif_facts(b"Exif\0\0" + data) if found.has_exif else ExifFacts()
    TiffImagePlugin.READ_LIBTIFF = found.is_deep_planar  # process-wide: a decoder process has one thread
    for jpeg in found.jpegs:
        check_damage(jpeg, limits)
    with _open(found.file, MediaType.TIFF, limits) as image:
        photo = _photo(image, MediaType.TIFF, ExifFacts(UPRIGHT, facts.profile), found.n_pictures)
    pixels = 255 - photo.pixels if found.is_negative else photo.pixels
    return DecodedPhoto(pixels, MediaType.TIFF, UPRIGHT, photo.profile, found.n_pictures, found.index)


def _decode_bmp(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    header = bmp.read_header(data)
    if not header.is_read:
        raise unsupported_variant()
    check_size(header.width, header.height, 1, limits)
    if header.is_cut(data):
        raise truncated()
    if header.is_packed:
        return _photo(bmp.decode_packed(data, header), MediaType.BMP, ExifFacts())
    with _open(data, MediaType.BMP, limits) as image:
        return _photo(image, MediaType.BMP, ExifFacts())


def _decode_avif(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Pillow states the turns and mirrors of the file (irot, imir) as Exif Orientation, instead of that of the Exif."""
    try:
        photo = _decode_pillow(data, MediaType.AVIF, limits)
    except (AttachmentError, MemoryError):
        raise
    except Exception:  # damaged metadata, or a damaged picture, which fails again
        photo = _decode_pillow(isobmff.without_metadata(data), MediaType.AVIF, limits)
    points = isobmff.colour_code_points(data)
    if points is None or (photo.profile and points[1] not in (PQ, HLG)):
        return photo
    profile = code_points_profile(*points)
    return DecodedPhoto(photo.pixels, MediaType.AVIF, photo.orientation, profile, photo.n_frames, photo.frame)


def _decode_webp(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    width, height = webp.read_size(data)
    check_size(width, height, 1, limits)
    with memory_for(width * height * MOST_BYTES):  # opening the file allocates the picture
        return _decode_pillow(data, MediaType.WEBP, limits)


def _decode_pillow(data: bytes, media_type: MediaType, limits: ImageLimits) -> DecodedPhoto:
    with _open(data, media_type, limits) as image:
        facts = exif_facts(image.info.get("exif"))
        return _photo(image, media_type, facts, int(getattr(image, "n_frames", 1)))


def _open(data: bytes, media_type: MediaType, limits: ImageLimits) -> Image.Image:
    """Opens an image and reads its header; no pixels are decoded."""
    image = Image.open(io.BytesIO(data), formats=[_PILLOW_FORMATS[media_type]])
    check_size(image.width, image.height, int(getattr(image, "n_frames", 1)), limits)
    return image


def _photo(image: Image.Image, media_type: MediaType, facts: ExifFacts, n_pictures: int = 1) -> DecodedPhoto:
    frame = image.tell()
    with memory_for(image.width * image.height * MOST_BYTES):
        image.load()
        pixels, profile = to_pixels(image)
    is_rgb = image.mode not in ("1", "L", "LA", "CMYK", "LAB") and not image.mode.startswith(("I", "F"))
    profile = profile or (facts.profile if is_rgb else None)
    return DecodedPhoto(pixels, media_type, facts.orientation, profile, n_pictures, frame)


@contextmanager
def _faults(data: bytes, media_type: MediaType) -> Iterator[None]:
    """Turns what decoders raise, anything from OSError to IndexError, into an error with a code.

    The structure of the file tells truncated and unsupported files from damaged ones.
    """
    try:
        yield
    except (AttachmentError, MemoryError):
        raise
    except Exception as error:
        if _is_cut(data, media_type):
            raise truncated() from error
        if _is_unsupported(data, media_type, error):
            raise unsupported_variant() from error
        raise corrupt("header" if isinstance(error, UnidentifiedImageError) else "data") from error


def _is_unsupported(data: bytes, media_type: MediaType, error: Exception) -> bool:
    match media_type:
        case MediaType.TIFF:  # its directory was read, and Pillow does not know this kind of picture
            return isinstance(error, UnidentifiedImageError)
        case MediaType.HEIC:  # libheif does not know a feature of the file
            return isobmff.is_other_coding(data) or isinstance(error, SyntaxError)
        case MediaType.AVIF:
            return isobmff.is_other_coding(data)
    return False


def _is_cut(data: bytes, media_type: MediaType) -> bool:
    """Whether a file that could not be decoded ends before its format says."""
    match media_type:
        case MediaType.WEBP:
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case MediaType.HEIC | MediaType.AVIF:
            return isobmff.is_cut(data)
        case MediaType.JXL if not data.startswith(BARE_CODESTREAM):
            return isobmff.is_cut(data)
        case MediaType.TIFF:
            return len(data) < tiff.HEADER_BYTES
        case MediaType.GIF:
            return not data.rstrip(b"\0").endswith(b";")
    return False
