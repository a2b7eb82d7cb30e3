"""DICOM is recognised without its preamble, its prefix and its file meta information."""

import struct

import numpy as np
import pytest

from tests.support.decoder import code_of
from tests.support.photo_files import dicom
from tests.support.rare_dicom import NATIVE, bare, edited, grey_photo
from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.formats import MediaType, sniff
from triage.samples.drawing import draw_skin_photo

RGB = np.asarray(draw_skin_photo(4, size=(90, 120)))
COLOUR = dicom(RGB, PatientName="Doe^Jane")
IN_SYNTAX = {name: edited(COLOUR, syntax=syntax, PixelData=("OB", RGB.tobytes())) for name, syntax in NATIVE.items()}
PREFIXED = 128


@pytest.mark.parametrize("name", [*NATIVE])
def test_preamble_may_be_missing(decoder: Decoder, name: str) -> None:
    """pydicom#150, dwv#188: files of scanners and of converters that start at group 2."""
    file = IN_SYNTAX[name]

    for variant in (bare(file, with_meta=True), b"DICM" + bare(file, with_meta=True), bytes(128) + file[132:]):
        photo = decoder.decode(variant)
        assert photo.media_type is MediaType.DICOM
        assert np.array_equal(photo.pixels, RGB)


@pytest.mark.parametrize("name", ["implicit", "explicit", "big endian"])
def test_bare_data_set_is_read(decoder: Decoder, name: str) -> None:
    """pydicom#150, pydicom#217 (big endian), dicom-rs#83 (implicit): the transfer syntax is found in the elements."""
    data = bare(IN_SYNTAX[name])

    for variant in (data, bytes(128) + b"DICM" + data):
        assert np.array_equal(decoder.decode(variant).pixels, RGB)


def test_transfer_syntax_may_be_missing(decoder: Decoder) -> None:
    """dicom#330 (suyashkumar): file meta information without TransferSyntaxUID."""
    for name in ("implicit", "explicit"):
        file = IN_SYNTAX[name]
        element = file.index(struct.pack("<HH2s", 2, 0x10, b"UI"))
        end = element + 8 + int.from_bytes(file[element + 6 : element + 8], "little")
        length = int.from_bytes(file[140:144], "little") - (end - element)
        shorter = file[:140] + struct.pack("<I", length) + file[144:element] + file[end:]

        assert np.array_equal(decoder.decode(shorter).pixels, RGB)


def test_value_that_looks_like_the_prefix_does_not_mislead(decoder: Decoder) -> None:
    """dcm4che#981: the bytes 128 to 131 of a bare data set are DICM."""
    data = bare(edited(COLOUR, SpecificCharacterSet="ISO_IR 100", ImageComments="x"))
    place = data.index(struct.pack("<HH2s", 8, 0x16, b"UI"))
    note = struct.pack("<HH2sH", 8, 0x15, b"LO", 200) + bytes(PREFIXED - place - 8) + b"DICM"
    data = data[:place] + note.ljust(208, b" ") + data[place:]
    assert data[128:132] == b"DICM"

    assert np.array_equal(decoder.decode(data).pixels, RGB)


def test_old_data_set_with_group_lengths_is_read(decoder: Decoder) -> None:
    """ACR-NEMA 2.0: implicit, group lengths, no SOP class, no PhotometricInterpretation."""
    grey = grey_photo(draw_skin_photo(4, size=(90, 120)))
    file = edited(
        dicom(grey, photometric="MONOCHROME2"),
        without=("SOPClassUID", "PhotometricInterpretation", "SamplesPerPixel"),
        syntax=NATIVE["implicit"],
        RecognitionCode="ACR-NEMA 2.0",
    )
    data = bare(file)
    group = data[: data.index(struct.pack("<HH", 0x28, 0x10))]
    old = struct.pack("<HHII", 8, 0, 4, len(group)) + data

    assert (decoder.decode(old).pixels == grey[..., None]).all()


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\0\x05\0CS\x0a\0ISO_IR 100",  # too short
        struct.pack("<HHI", 8, 5, 4) + b"abcd" + struct.pack("<HHI", 8, 4, 4) + b"abcd" * 9,  # descending
        struct.pack("<HHI", 8, 5, 1 << 20) + b"abcd" * 99,  # longer than the file
        struct.pack("<HHI", 16, 5, 4) + b"abcd" + struct.pack("<HHI", 16, 6, 4) + b"abcd" * 9,  # another group
        bytes(500),
        b"DICM and other words",
    ],
    ids=["short", "descending", "long", "group", "zeros", "text"],
)
def test_other_bytes_are_unknown_and_the_message_names_dicom(decoder: Decoder, data: bytes) -> None:
    assert sniff(data) is None
    assert code_of(decoder, data) is ErrorCode.UNKNOWN_FORMAT
    with pytest.raises(AttachmentError, match="DICOM"):
        decoder.decode(data)


def test_prefix_without_elements_is_a_damaged_file(decoder: Decoder) -> None:
    for data in (COLOUR[:132], COLOUR[:132] + b"\xff" * 400):
        assert code_of(decoder, data) in {ErrorCode.CORRUPT, ErrorCode.TRUNCATED, ErrorCode.NO_PIXELS}
