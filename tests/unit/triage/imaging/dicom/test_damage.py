"""The structure of a file, never the text of an exception, decides the code of a damaged one."""

from typing import Any

import numpy as np
import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from tests.support.decoder import code_of
from tests.support.photo_files import dicom, encode
from tests.support.rare_dicom import CODECS, bare, coded, edited, grey_photo, jpeg_in_dicom
from tests.support.rare_files import scan_data
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(4, size=(90, 120))
RGB, GREY = np.asarray(PHOTO), grey_photo(PHOTO)
JPEG = encode(PHOTO, "JPEG", quality=95)
JPEG_2000 = encode(PHOTO, "JPEG2000", irreversible=False, mct=1, no_jp2=True)
FILES = {
    "native": dicom(RGB),
    "RLE": dicom(RGB, transfer_syntax=RLELossless),
    "JPEG": jpeg_in_dicom(PHOTO, JPEG),
    "JPEG 2000": dicom(RGB, transfer_syntax=JPEG2000Lossless, encapsulated=[JPEG_2000]),
    "bare": bare(dicom(RGB)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_file_that_ends_within_its_pixels_is_truncated(decoder: Decoder, name: str, share: float) -> None:
    data = FILES[name]

    assert code_of(decoder, data[: int(share * len(data))]) is ErrorCode.TRUNCATED


def test_file_that_ends_within_an_element_before_its_pixels_is_truncated(decoder: Decoder) -> None:
    data = edited(FILES["native"], ImageComments="a comment that is cut")

    assert code_of(decoder, data[: data.index(b"comment that")]) is ErrorCode.TRUNCATED


def test_frame_that_ends_early_in_a_whole_file_is_truncated(decoder: Decoder) -> None:
    half = dicom(RGB, transfer_syntax=JPEG2000Lossless, encapsulated=[JPEG_2000[: len(JPEG_2000) // 8]])

    assert code_of(decoder, jpeg_in_dicom(PHOTO, JPEG[: len(JPEG) // 2])) is ErrorCode.TRUNCATED
    assert code_of(decoder, half) is ErrorCode.TRUNCATED
    assert code_of(decoder, edited(FILES["native"], PixelData=("OW", bytes(900)))) is ErrorCode.TRUNCATED


def test_hole_in_a_jpeg_is_corrupt(decoder: Decoder) -> None:
    """libvips#2309: within DICOM as in a JPEG file."""
    hole, middle = bytearray(JPEG), (scan_data(JPEG) + len(JPEG)) // 2
    hole[middle : middle + 500] = bytes(500)

    assert code_of(decoder, jpeg_in_dicom(PHOTO, bytes(hole))) is ErrorCode.CORRUPT


def test_frame_without_a_codestream_is_corrupt(decoder: Decoder) -> None:
    for frame in (b"unsupported, truncated, premature end", bytes(2000), b"\xff\xd8\xff", b"\x03\0\0\0@" + bytes(99)):
        file = dicom(RGB, transfer_syntax=JPEGBaseline8Bit, encapsulated=[frame])
        assert code_of(decoder, file) in {ErrorCode.CORRUPT, ErrorCode.TRUNCATED}


def test_damaged_rle_is_corrupt(decoder: Decoder) -> None:
    """GDCM#235: no segments, or segments that do not fill the frame."""
    for damage in (b"\0\0\0\0", b"\2\0\0\0"):
        data = bytearray(FILES["RLE"])
        place = data.index(b"\3\0\0\0@\0\0\0")
        data[place : place + 4] = damage
        assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT


def test_box_of_no_length_does_not_stall(decoder: Decoder) -> None:
    boxed = encode(PHOTO, "JPEG2000", irreversible=False)
    file = dicom(RGB, transfer_syntax=JPEG2000Lossless, encapsulated=[boxed[:12] + bytes(8) + boxed[12:]])

    assert (decoder.decode(file).pixels == RGB).all()


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit])
def test_jpeg_of_12_bits_is_an_unsupported_transfer_syntax(decoder: Decoder, syntax: UID) -> None:
    """pylibjpeg#73: whatever BitsStored states."""
    place = JPEG.index(b"\xff\xc0")
    twelve = JPEG[:place] + b"\xff\xc1" + JPEG[place + 2 : place + 4] + b"\x0c" + JPEG[place + 5 :]
    file = dicom(RGB, transfer_syntax=syntax, encapsulated=[twelve])

    assert code_of(decoder, file) is ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX


@pytest.mark.parametrize("bits", [6, 7])
def test_jpeg_ls_of_6_or_7_bits_is_unsupported(decoder: Decoder, bits: int) -> None:
    """pydicom: GDCM decodes them wrongly."""
    file = bytearray(coded(dicom(GREY, photometric="MONOCHROME2"), CODECS["JPEG-LS"]))
    file[file.index(b"\xff\xf7") + 4] = bits

    assert code_of(decoder, bytes(file)) is ErrorCode.UNSUPPORTED_VARIANT


@pytest.mark.parametrize("elements", [{"SamplesPerPixel": 4}, {"SamplesPerPixel": 2}, {"BitsAllocated": 24}])
def test_other_pixels_are_unsupported(decoder: Decoder, elements: dict[str, Any]) -> None:
    assert code_of(decoder, edited(FILES["native"], **elements)) is ErrorCode.UNSUPPORTED_VARIANT


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_picture_without_a_size_has_a_damaged_header(decoder: Decoder, keyword: str) -> None:
    assert code_of(decoder, edited(FILES["native"], without=(keyword,))) is ErrorCode.CORRUPT
    no_size: dict[str, Any] = {keyword: 0}
    assert code_of(decoder, edited(FILES["native"], **no_size)) is ErrorCode.CORRUPT


def test_malformed_values_of_other_elements_do_not_matter(decoder: Decoder) -> None:
    file = edited(
        FILES["native"],
        SpecificCharacterSet="ISO_IR 100",
        NumberOfFrames="7777",
        WindowCenter="8888",
        WindowWidth=("LO", "wide"),
        PixelAspectRatio=("LO", "x"),
    )

    damaged = file.replace(b"7777", b"many").replace(b"8888", b"1,50").replace(b"ISO_IR 100", b"ISO_XX 999")
    assert (decoder.decode(damaged).pixels == RGB).all()


def test_last_element_may_have_no_value_and_an_unknown_vr(decoder: Decoder) -> None:
    file = edited(FILES["native"], without=("PixelData",))

    assert code_of(decoder, file + b"\xe0\x7f\x20\0N\0\0\0") is ErrorCode.NO_PIXELS
