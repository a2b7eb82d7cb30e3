import struct

import numpy as np
import pytest
from PIL import Image

from tests.support.decoder import code_of
from tests.support.photo_files import encode
from tests.support.rare_files import bmp
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(8, size=(150, 200))
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


@pytest.mark.parametrize(
    ("masks", "bits", "header", "compression"),
    [
        (BGRA, 32, 124, 3),
        (BGRA, 32, 108, 3),
        (BGRA, 32, 56, 3),
        (BGRA, 32, 40, 6),
        (BGRA[:3], 32, 40, 3),
        ((0xFF, 0xFF00, 0xFF0000), 32, 40, 3),
        ((0xFF000000, 0xFF0000, 0xFF00, 0xFF), 32, 124, 3),
        ((0x3FF00000, 0xFFC00, 0x3FF), 32, 40, 3),
        ((0xF800, 0x7E0, 0x1F), 16, 40, 3),
        ((0x7C00, 0x3E0, 0x1F, 0x8000), 16, 124, 3),
        ((0xF00, 0xF0, 0xF, 0xF000), 16, 40, 6),
    ],
)
def test_packed_pixels_are_read_when_the_alpha_channel_is_zero(
    decoder: Decoder, masks: tuple[int, ...], bits: int, header: int, compression: int
) -> None:
    """libvips#1416: BITMAPV5HEADER with an all-zero alpha channel; Pillow#1293: BI_BITFIELDS."""
    data = bmp(PHOTO, masks, bits=bits, header=header, compression=compression)

    difference = np.abs(decoder.decode(data).pixels.astype(int) - np.asarray(PHOTO))
    steps = min(mask.bit_count() for mask in masks[:3])
    assert difference.max() <= (0 if steps == 8 else 1 if steps > 8 else 255 / (2**steps - 1))


def test_alpha_channel_is_used_when_it_is_not_zero(decoder: Decoder) -> None:
    half = PHOTO.copy()
    half.putalpha(128)

    pixels = decoder.decode(bmp(half, BGRA)).pixels.astype(int)
    assert np.abs(pixels - (np.asarray(PHOTO, int) + 255) / 2).max() <= 2


def test_picture_stored_from_the_top_is_not_turned(decoder: Decoder) -> None:
    data = bytearray(bmp(PHOTO.transpose(Image.Transpose.FLIP_TOP_BOTTOM), BGRA))
    data[22:26] = struct.pack("<i", -PHOTO.height)

    assert np.array_equal(decoder.decode(bytes(data)).pixels, np.asarray(PHOTO))


@pytest.mark.parametrize("compression", [4, 5, 11, 12, 13])
def test_other_compressions_are_unsupported(decoder: Decoder, compression: int) -> None:
    data = bytearray(encode(PHOTO, "BMP"))
    data[30:34] = struct.pack("<I", compression)

    assert code_of(decoder, bytes(data)) is ErrorCode.UNSUPPORTED_VARIANT


def test_file_is_truncated_when_it_ends_before_its_pixels(decoder: Decoder) -> None:
    for data in (encode(PHOTO, "BMP"), bmp(PHOTO, BGRA)):
        assert code_of(decoder, data[:-10]) is ErrorCode.TRUNCATED


def test_masks_with_gaps_are_corrupt(decoder: Decoder) -> None:
    data = bytearray(bmp(PHOTO, BGRA))
    data[54:58] = struct.pack("<I", 0xF0F)

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT
