import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.support.decoder import code_of
from tests.support.photo_files import MAKERS, encode
from tests.support.rare_files import ARITHMETIC, gradient, scan_data
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.jpeg import without_oddities
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(5, size=(300, 400))
BASELINE = encode(PHOTO, "JPEG", quality=95)
KINDS = {
    "baseline": BASELINE,
    "restarts": encode(PHOTO, "JPEG", quality=95, restart_marker_rows=2),
    "progressive": encode(PHOTO, "JPEG", quality=95, progressive=True),
    "grey": encode(PHOTO.convert("L"), "JPEG", quality=95),
    "cmyk": MAKERS["jpeg-cmyk"](PHOTO),
}


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
@pytest.mark.parametrize("name", KINDS)
def test_hole_in_the_scan_data_is_corrupt(decoder: Decoder, name: str, filler: bytes, share: float) -> None:
    """libvips#2309: a run of zero bytes, as a disk or an upload leaves it; the end of the file is there."""
    data, start = bytearray(KINDS[name]), scan_data(KINDS[name])
    place = start + int(share * (len(data) - start))
    data[place : place + 2000] = filler * len(data[place : place + 2000])
    data[-2:] = b"\xff\xd9"

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT


@pytest.mark.parametrize("name", KINDS)
def test_scan_data_that_is_missing_is_corrupt_or_truncated(decoder: Decoder, name: str) -> None:
    data = KINDS[name]
    middle = (scan_data(data) + len(data)) // 2

    assert code_of(decoder, data[:middle]) is ErrorCode.TRUNCATED
    assert code_of(decoder, data[:middle] + b"\xff\xd9") is ErrorCode.CORRUPT
    assert code_of(decoder, data[:middle] + data[middle + 3001 :]) is ErrorCode.CORRUPT


def test_progressive_photo_is_corrupt_when_its_last_scans_are_missing(decoder: Decoder) -> None:
    """libvips#2309: libjpeg shows such a file as a blurred photo, without a warning."""
    data = KINDS["progressive"]

    for kept in (1, 4, data.count(b"\xff\xda") - 1):
        end = scan_data(data, kept - 1)
        end = data.index(b"\xff\xda", end)
        assert code_of(decoder, data[:end] + b"\xff\xd9") is ErrorCode.CORRUPT
        assert code_of(decoder, data[:end]) is ErrorCode.TRUNCATED


def test_damage_is_found_when_the_file_also_has_an_oddity(decoder: Decoder) -> None:
    """libjpeg reports its first warning only, which may be a harmless one."""
    data = bytearray(_samsung(BASELINE))
    middle = (scan_data(BASELINE) + len(data)) // 2
    data[middle : middle + 2000] = bytes(2000)

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT


def _samsung(jpeg: bytes) -> bytes:
    place = scan_data(jpeg)
    return jpeg[: place - 3] + bytes(3) + jpeg[place:]


@pytest.mark.parametrize(
    "data",
    [
        _samsung(BASELINE),
        BASELINE + b"a trailer, as Samsung and Google phones append" * 99,
        BASELINE + BASELINE[: len(BASELINE) // 2],
        BASELINE[:2] + _segment(0xEF, b"unknown" * 99) + _segment(0xE1, b"no Exif") + BASELINE[2:],
        BASELINE[:20] + b"bytes between segments" + BASELINE[20:],
        BASELINE.replace(b"JFIF\0\1\1", b"JFIF\0\7\7"),
        BASELINE[:2] + _segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09") + BASELINE[2:],
        BASELINE[:2] + _segment(0xE2, b"ICC_PROFILE\0\5\2" + bytes(200)) + BASELINE[2:],
        BASELINE[:2] + _segment(0xE2, b"MPF\0MM\0*" + b"\xff" * 90) + BASELINE[2:],
        BASELINE[:2] + b"\xff" * 9 + BASELINE[2:],
    ],
    ids=["samsung", "trailer", "second", "app", "garbage", "jfif", "adobe", "icc", "mpf", "fill"],
)
def test_oddities_do_not_cost_a_photo(decoder: Decoder, data: bytes) -> None:
    """libjpeg-turbo#149 (invalid SOS parameters of Samsung phones); Pillow#5528 (metadata)."""
    photo = decoder.decode(data)

    assert np.array_equal(photo.pixels, decoder.decode(BASELINE).pixels)
    assert (photo.orientation, photo.n_frames) == (1, 1)
    assert np.array_equal(np.asarray(photo.to_image()), photo.pixels)


@pytest.mark.parametrize("name", KINDS)
def test_correction_keeps_the_pixels_of_a_sound_file(name: str) -> None:
    corrected = Image.open(io.BytesIO(without_oddities(KINDS[name])))

    assert np.array_equal(np.asarray(corrected), np.asarray(Image.open(io.BytesIO(KINDS[name]))))


@pytest.mark.parametrize(
    ("marker", "precision"),
    [(0xC1, 12), (0xC2, 12), (0xC3, 8), (0xC3, 16), (0xC5, 8), (0xC7, 8), (0xCB, 8), (0xCF, 8)],
)
def test_process_that_no_browser_reads_is_unsupported(decoder: Decoder, marker: int, precision: int) -> None:
    """pydicom#2231: 12-bit JPEG outside DICOM; also lossless, hierarchical and lossless arithmetic coding."""
    place = BASELINE.index(b"\xff\xc0")
    data = BASELINE[:place] + bytes([0xFF, marker]) + BASELINE[place + 2 : place + 4] + bytes([precision])

    assert code_of(decoder, data + BASELINE[place + 5 :]) is ErrorCode.UNSUPPORTED_VARIANT


def test_two_components_and_an_unknown_height_are_unsupported(decoder: Decoder) -> None:
    place = BASELINE.index(b"\xff\xc0")
    no_height = BASELINE[: place + 5] + bytes(2) + BASELINE[place + 7 :]
    two = BASELINE[: place + 9] + b"\2" + BASELINE[place + 10 :]

    assert {code_of(decoder, no_height), code_of(decoder, two)} == {ErrorCode.UNSUPPORTED_VARIANT}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_coding_is_read(decoder: Decoder, name: str) -> None:
    """libjpeg-turbo decodes it, although no browser does; a build without it would find its photos corrupt."""
    photo = decoder.decode(ARITHMETIC[name])

    assert np.abs(photo.pixels.astype(int) - np.asarray(gradient())).mean() <= 2


def test_arithmetic_coding_that_ends_early_is_truncated(decoder: Decoder) -> None:
    for data in ARITHMETIC.values():
        assert code_of(decoder, data[: (scan_data(data) + len(data)) // 2]) is ErrorCode.TRUNCATED
