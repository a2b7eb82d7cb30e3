import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decode import ImageLimits, decode_photo
from triage.imaging.formats import MediaType

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6, min_side=32)


def _encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def _quarters() -> Image.Image:
    """Red, green, blue and white quarters, 64 wide and 48 high."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = (250, 10, 10)
    pixels[:24, 32:] = (10, 250, 10)
    pixels[24:, :32] = (10, 10, 250)
    pixels[24:, 32:] = (250, 250, 250)
    return Image.fromarray(pixels)


def _code(data: bytes, limits: ImageLimits = LIMITS) -> ErrorCode:
    with pytest.raises(AttachmentError) as raised:
        decode_photo(data, limits)
    assert "\n" not in str(raised.value)
    return raised.value.code


# how a camera that is held so stores the upright picture
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", STORED)
def test_photo_is_upright_whatever_its_orientation(fmt: str, orientation: int) -> None:
    upright = _quarters()
    transpose = STORED[orientation]
    stored = upright if transpose is None else upright.transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = orientation

    photo = decode_photo(_encode(stored, fmt, exif=exif), LIMITS).image

    assert photo.size == (64, 48)
    difference = np.abs(np.asarray(photo, int) - np.asarray(upright, int))
    assert difference[4:20, 4:28].max() <= 40  # JPEG is not exact
    assert difference.mean() < 12


def test_media_type_is_told_from_the_bytes() -> None:
    assert decode_photo(_encode(_quarters(), "PNG"), LIMITS).media_type is MediaType.PNG
    assert decode_photo(_encode(_quarters(), "JPEG"), LIMITS).media_type is MediaType.JPEG


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))

    assert decode_photo(_encode(clear, "PNG"), LIMITS).image.getpixel((5, 5)) == (255, 255, 255)


def test_palette_becomes_its_colours() -> None:
    photo = decode_photo(_encode(_quarters().quantize(8), "PNG"), LIMITS).image

    assert photo.mode == "RGB"
    assert np.abs(np.asarray(photo, int)[5, 5] - (250, 10, 10)).max() < 30


def test_sixteen_bit_grey_is_scaled() -> None:
    grey = Image.fromarray(np.full((64, 64), 0x8000, np.uint16))

    assert decode_photo(_encode(grey, "PNG"), LIMITS).image.getpixel((5, 5)) == (127, 127, 127)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_become_rgb(mode: str) -> None:
    photo = decode_photo(_encode(_quarters().convert(mode), "JPEG"), LIMITS).image

    assert photo.mode == "RGB"
    assert min(photo.getpixel((60, 44))) > 230  # type: ignore[arg-type]  # white stays white


def test_empty_file_is_empty() -> None:
    assert _code(b"") is ErrorCode.EMPTY


@pytest.mark.parametrize("data", [b"a letter named .jpg", b"GIF89a", b"\xff\xd8", b"<svg/>", b"%PDF-1.7"])
def test_other_bytes_are_an_unknown_format(data: bytes) -> None:
    assert _code(data) is ErrorCode.UNKNOWN_FORMAT


@pytest.mark.parametrize("fmt", ["PNG", "JPEG"])
def test_file_that_ends_early_is_truncated(fmt: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    data = _encode(Image.fromarray(noise), fmt)

    assert _code(data[: len(data) // 2]) is ErrorCode.TRUNCATED


def test_damaged_header_is_corrupt(jpeg: Callable[..., bytes]) -> None:
    assert _code(jpeg()[:3] + b"\0" * 200) is ErrorCode.CORRUPT


def test_damaged_data_is_corrupt() -> None:
    data = bytearray(_encode(_quarters(), "PNG"))
    start = data.index(b"IDAT") + 4
    data[start : start + 4] = b"\xff\xff\xff\xff"

    assert _code(bytes(data)) is ErrorCode.CORRUPT


def test_huge_png_is_refused_by_its_header_alone() -> None:
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))

    assert _code(data, ImageLimits()) is ErrorCode.TOO_MANY_PIXELS


def test_limits_are_inclusive() -> None:
    data = _encode(_quarters(), "PNG")

    decode_photo(data, ImageLimits(max_bytes=len(data), max_pixels=64 * 48, min_side=48))
    assert _code(data, ImageLimits(max_bytes=len(data) - 1)) is ErrorCode.TOO_LARGE
    assert _code(data, ImageLimits(max_pixels=64 * 48 - 1)) is ErrorCode.TOO_MANY_PIXELS
    assert _code(data, ImageLimits(min_side=49)) is ErrorCode.TOO_SMALL
