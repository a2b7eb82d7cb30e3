import importlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.decoder import LIMITS, code_of
from tests.support.photo_files import MAKERS, STORED, encode, stored, with_orientation
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.formats import MediaType
from triage.samples.drawing import draw_skin_photo

pillow_jxl: Any = importlib.import_module("pillow_jxl")  # its type stubs name other parameters
PHOTO = draw_skin_photo(9, size=(150, 200))


def _packed_jpeg(jpeg: bytes, *, container: bool = True) -> bytes:
    """A JPEG packed as JPEG XL, from which it can be restored to the byte."""
    image = Image.open(io.BytesIO(jpeg))
    encoder = pillow_jxl.Encoder(mode="RGB", lossless=True, use_container=container, num_threads=0)
    return bytes(encoder(jpeg, *image.size, jpeg_encode=True))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
@pytest.mark.parametrize("use_container", [False, True])
def test_lossless_photo_is_exact(decoder: Decoder, mode: str, use_container: bool) -> None:
    image = PHOTO.convert(mode)

    photo = decoder.decode(encode(image, "JXL", lossless=True, use_container=use_container))

    assert photo.media_type is MediaType.JXL
    assert np.array_equal(photo.pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("orientation", STORED)
def test_packed_jpeg_is_decoded_as_that_jpeg(decoder: Decoder, quarters: Image.Image, orientation: int) -> None:
    jpeg = encode(stored(quarters, orientation), "JPEG", exif=with_orientation(orientation), quality=95)

    photo, plain = decoder.decode(_packed_jpeg(jpeg)), decoder.decode(jpeg)

    assert photo.media_type is MediaType.JXL
    assert np.array_equal(photo.upright, plain.upright)


@pytest.mark.parametrize("size", [(64, 64), (256, 96), (200, 150), (320, 180), (500, 400), (130, 65), (1001, 333)])
def test_size_is_checked_before_decoding(decoder: Decoder, size: tuple[int, int]) -> None:
    """Small, free and proportional sizes are coded differently."""
    data = encode(PHOTO.resize(size), "JXL", quality=50)

    assert decoder.decode(data).size == size


def test_huge_photo_is_refused_before_decoding(decoder: Decoder) -> None:
    too_long = LIMITS.max_side + 1
    bits = 0 | 2 << 1 | (too_long - 1) << 3 | 1 << 21  # not small, 18 bits for the height, square
    bare = b"\xff\x0a" + bits.to_bytes(14, "little")
    container = b"\0\0\0\x0cJXL \r\n\x87\n" + struct.pack(">I4sI", 12 + len(bare), b"jxlp", 0) + bare

    assert {code_of(decoder, bare), code_of(decoder, container)} <= {
        ErrorCode.SIDE_TOO_LONG,
        ErrorCode.TOO_MANY_PIXELS,
    }


def test_cut_file_is_truncated_when_it_has_a_container(decoder: Decoder) -> None:
    data = MAKERS["jxl-lossless"](PHOTO)

    assert code_of(decoder, data[: len(data) // 2]) is ErrorCode.TRUNCATED


def test_damaged_file_is_corrupt(decoder: Decoder) -> None:
    data = bytearray(MAKERS["jxl"](PHOTO))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT
