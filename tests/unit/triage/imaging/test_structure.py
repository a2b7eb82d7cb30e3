import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from tests.support.decoder import code_of
from tests.support.photo_files import MAKERS, dicom, encode, with_orientation
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.formats import MediaType
from triage.imaging.structure import is_simple
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(1, size=(96, 128))


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    with Decoder() as decoder:
        yield decoder


def _segments(marker: int, n: int, content: bytes) -> bytes:
    """A JPEG with `count` segments before the scan."""
    jpeg = MAKERS["jpeg"](PHOTO)
    segment = bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content
    return jpeg[:2] + segment * n + jpeg[2:]


def _chunks(n: int) -> bytes:
    """A PNG with `count` private chunks before the image data."""
    png = MAKERS["png"](PHOTO)
    chunk = struct.pack(">I", 0) + b"prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    return png[:33] + chunk * n + png[33:]


@pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "jpeg-mpo", "png", "png-palette", "png-alpha"])
def test_camera_photo_is_simple(name: str) -> None:
    assert is_simple(MAKERS[name](PHOTO), MediaType.PNG if name.startswith("png") else MediaType.JPEG)
    rich = encode(PHOTO, "JPEG", exif=with_orientation(6), icc_profile=b"x" * 300_000, comment=b"y" * 9)
    assert is_simple(rich, MediaType.JPEG)


@pytest.mark.parametrize(
    "data",
    [
        _segments(0xE1, 5_000, b"Exif\0\0" + bytes(8)),
        _segments(0xE5, 100_000, b""),
        MAKERS["jpeg"](PHOTO)[:-2] + b"\xff\xe5\0\2" * 30_000 + b"\xff\xd9",
        MAKERS["jpeg"](PHOTO)[:2] + b"\xff" * 100_000 + MAKERS["jpeg"](PHOTO)[2:],
        _chunks(100_000),
        MAKERS["jpeg-cmyk"](PHOTO),
        encode(Image.new("P", (5_000, 5_000)), "PNG"),
        encode(Image.new("L", (8_000, 8_000)), "PNG"),
    ],
    ids=["exif", "segments", "segments-after-the-scan", "fill", "chunks", "cmyk", "palette", "large"],
)
def test_photo_goes_to_decoder_process_when_its_structure_is_costly(decoder: Decoder, data: bytes) -> None:
    media_type = MediaType.PNG if data.startswith(b"\x89PNG") else MediaType.JPEG

    assert not is_simple(data, media_type)
    assert decoder.decode(data).media_type is media_type
    assert len(decoder._isolated._idle) == 1


@pytest.mark.parametrize("kept", range(0, 700, 7))
def test_structure_check_never_raises_when_data_is_truncated(kept: int) -> None:
    for name, media_type in (("jpeg", MediaType.JPEG), ("png", MediaType.PNG)):
        assert is_simple(MAKERS[name](PHOTO)[:kept], media_type) in {True, False}


def test_grey_keeps_its_levels_when_a_rescale_gives_them_a_unit(decoder: Decoder) -> None:
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (70, 1))

    for slope, intercept in ((4, -1024), (1 / 255, 0)):
        data = dicom(ramp, photometric="MONOCHROME2", RescaleSlope=slope, RescaleIntercept=intercept)
        assert (decoder.decode(data).pixels == ramp[..., None]).all()


def test_colour_keeps_its_brightness_when_bits_stored_differ(decoder: Decoder) -> None:
    pixels = np.full((70, 80, 3), 63, np.uint8)

    assert decoder.decode(dicom(pixels, bits_stored=6)).pixels.min() > 240


@pytest.mark.parametrize("name", ["dicom-rle", "dicom-jpeg", "dicom-jpeg2000"])
def test_dicom_is_truncated_when_it_ends_before_the_pixels(decoder: Decoder, name: str) -> None:
    data = MAKERS[name](PHOTO)

    assert code_of(decoder, data[: len(data) // 2]) is ErrorCode.TRUNCATED


def test_simple_photo_is_decoded_in_this_process(decoder: Decoder) -> None:
    decoder.decode(io.BytesIO(MAKERS["jpeg"](PHOTO)).getvalue())

    assert decoder._isolated._idle == []
