"""The middle frame is found, compressed or not, with right and wrong numbers and offsets."""

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, fragment_frame, itemize_fragment
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from tests.support.decoder import code_of
from tests.support.photo_files import dicom, encode
from tests.support.rare_dicom import CODECS, Array, coded, deep, edited, grey_photo
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

PHOTOS = [draw_skin_photo(seed, size=(90, 120)) for seed in (1, 2, 3)]
RGB = np.stack([np.asarray(photo) for photo in PHOTOS])
JPEGS = [encode(photo, "JPEG", quality=97) for photo in PHOTOS]
CLOSE = 2.0


def _file(pixel_data: bytes, **elements: Any) -> bytes:
    file = dicom(RGB[0], photometric="YBR_FULL_422", transfer_syntax=JPEGBaseline8Bit, encapsulated=JPEGS[:1])
    return edited(file, PixelData=("OB", pixel_data), **elements)


def _is_close(shown: Array, expected: Array) -> bool:
    return float(np.abs(shown.astype(int) - expected).mean()) <= CLOSE


def _fragments(*frames: bytes, n: int, table: bytes = b"") -> bytes:
    parts = [part for frame in frames for part in fragment_frame(frame, n)]
    return itemize_fragment(table) + b"".join(map(itemize_fragment, parts))


@pytest.mark.parametrize(
    "pixel_data",
    [
        encapsulate(JPEGS, has_bot=True),
        encapsulate(JPEGS, has_bot=False),
        _fragments(*JPEGS, n=3),  # fo-dicom#992: several fragments a frame, no table
        encapsulate(JPEGS, fragments_per_frame=3, has_bot=True),  # pydicom#1774
        _fragments(*JPEGS, n=1, table=struct.pack("<3I", 0, 77, 99)),  # a table that is wrong
        _fragments(*JPEGS, n=2, table=bytes(12)),
    ],
    ids=["table", "no-table", "fragments", "fragments-table", "wrong-table", "zeros"],
)
def test_middle_frame_is_found_among_fragments(decoder: Decoder, pixel_data: bytes) -> None:
    photo = decoder.decode(_file(pixel_data, NumberOfFrames=3))

    assert (photo.n_frames, photo.frame) == (3, 1)
    assert _is_close(photo.pixels, RGB[1])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_single_frame_may_have_several_fragments(decoder: Decoder, n: int) -> None:
    """dcm4chee-arc-light#752."""
    assert _is_close(decoder.decode(_file(_fragments(JPEGS[0], n=n))).pixels, RGB[0])


@pytest.mark.parametrize("stated", [0, None, 1])
def test_number_of_frames_may_be_0_or_empty(decoder: Decoder, stated: int | None) -> None:
    """pydicom#1844."""
    photo = decoder.decode(_file(encapsulate(JPEGS[:1]), NumberOfFrames=stated))

    assert (photo.n_frames, photo.frame) == (1, 0)
    assert (decoder.decode(edited(dicom(RGB[0]), NumberOfFrames=stated)).pixels == RGB[0]).all()


@pytest.mark.parametrize("stated", [3, 2**31 - 1])
def test_frames_that_are_stated_and_absent_do_not_count(decoder: Decoder, stated: int) -> None:
    """pydicom#721: 16 frames are stated, one is stored; pydicom#1666."""
    compressed = decoder.decode(_file(encapsulate(JPEGS[:1]), NumberOfFrames=stated))
    native = decoder.decode(edited(dicom(RGB[0]), NumberOfFrames=stated))

    assert [(photo.n_frames, photo.frame) for photo in (compressed, native)] == [(1, 0), (1, 0)]
    assert (native.pixels == RGB[0]).all()


def test_frames_of_other_codecs_are_found(decoder: Decoder) -> None:
    """io-dicom#46: 16-bit colour has six RLE segments."""
    jp2 = [encode(photo, "JPEG2000", irreversible=False, mct=1, no_jp2=True) for photo in PHOTOS]
    files = [
        dicom(RGB, n_frames=3, transfer_syntax=RLELossless),
        dicom(RGB.astype(np.uint16) * 257, n_frames=3, transfer_syntax=RLELossless),
        dicom(RGB, n_frames=3, photometric="YBR_RCT", transfer_syntax=JPEG2000Lossless, encapsulated=jp2),
    ]

    for file in files:
        photo = decoder.decode(file)
        assert (photo.n_frames, photo.frame) == (3, 1)
        assert (photo.pixels == RGB[1]).all()


def test_frames_of_1_bit_need_not_start_at_a_byte(decoder: Decoder) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (3, 35, 35), np.uint8)  # 1225 bits a frame
    file = edited(
        dicom(bits, photometric="MONOCHROME2", n_frames=3),
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelData=("OB", np.packbits(bits.ravel(), bitorder="little").tobytes() + b"\0"),
    )

    assert (decoder.decode(file).pixels == 255 * bits[1][..., None]).all()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("is_signed", [False, True])
def test_lossless_codecs_give_the_pixels_of_the_native_file(
    decoder: Decoder, codec: str, bits: int, is_signed: bool
) -> None:
    """pydicom#2009: the sign of JPEG-LS; fmjpeg2koj#6."""
    grey = deep(grey_photo(PHOTOS[0]), bits).astype(np.int64)
    kind = "int" if is_signed else "uint"
    pixels = (grey - (1 << (bits - 1)) * is_signed).astype(f"{kind}{8 if bits == 8 else 16}")
    native = dicom(pixels, photometric="MONOCHROME2", bits_stored=bits)

    expected, shown = decoder.decode(native).pixels, decoder.decode(coded(native, CODECS[codec])).pixels
    assert np.abs(shown.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("codec", ["RLE", "JPEG lossless", "JPEG 2000"])
def test_bits_above_are_ignored_when_a_codec_keeps_them(decoder: Decoder, codec: str) -> None:
    """pydicom#2260: an overlay in the unused bits of compressed pixels."""
    grey = grey_photo(PHOTOS[0])
    native = dicom(deep(grey, 12) | 0x3000, photometric="MONOCHROME2")
    file = edited(coded(native, CODECS[codec]), BitsStored=12, HighBit=11)

    assert _is_close(decoder.decode(file).pixels, grey[..., None])


def test_stated_bits_may_exceed_those_of_the_codestream(decoder: Decoder) -> None:
    """fo-dicom#1992: 16 bits are allocated for a JPEG or JPEG 2000 of 8 bits."""
    grey = grey_photo(PHOTOS[0])
    image = Image.fromarray(grey)
    for syntax, frame in (
        (JPEGBaseline8Bit, encode(image, "JPEG", quality=97)),
        (JPEG2000Lossless, encode(image, "JPEG2000", irreversible=False, no_jp2=True)),
    ):
        for stored in (8, 16):
            file = dicom(
                grey.astype(np.uint16),
                photometric="MONOCHROME2",
                transfer_syntax=syntax,
                bits_stored=stored,
                encapsulated=[frame],
            )
            assert _is_close(decoder.decode(file).pixels, grey[..., None])


def test_codestream_decides_when_the_transfer_syntax_is_wrong(decoder: Decoder) -> None:
    lossless = coded(dicom(RGB[0]), CODECS["JPEG lossless"])
    for syntax in (JPEGBaseline8Bit, JPEG2000Lossless, RLELossless):
        assert _is_close(decoder.decode(edited(_file(encapsulate(JPEGS[:1])), syntax=syntax)).pixels, RGB[0])
        assert _is_close(decoder.decode(edited(lossless, syntax=syntax)).pixels, RGB[0])


def test_native_pixels_are_read_when_the_transfer_syntax_says_compressed(decoder: Decoder) -> None:
    file = dicom(RGB[0])
    length = file.index(b"1.2.840.10008.1.2.1\0")
    relabelled = file[:length] + b"1.2.840.10008.1.2.5\0" + file[length + 20 :]  # RLE

    assert (decoder.decode(relabelled).pixels == RGB[0]).all()


def test_file_with_empty_pixel_data_has_no_pixels(decoder: Decoder) -> None:
    assert code_of(decoder, edited(dicom(RGB[0]), PixelData=("OB", b""))) is ErrorCode.NO_PIXELS
    assert code_of(decoder, _file(itemize_fragment(b""))) is ErrorCode.NO_PIXELS


@pytest.mark.parametrize("marker", [b"\xff\x00", b"\x7f\xc4", b"\xff\xfe"])
def test_lossless_jpeg_without_its_tables_is_corrupt(decoder: Decoder, marker: bytes) -> None:
    """libvips#2309: libjpeg only warns of bytes between segments. GDCM aborts without a Huffman table."""
    file = coded(dicom(RGB[0]), CODECS["JPEG lossless"])
    place = file.index(b"\xff\xc4", file.index(b"\xff\xc3"))

    assert code_of(decoder, file[:place] + marker + file[place + 2 :]) is ErrorCode.CORRUPT
