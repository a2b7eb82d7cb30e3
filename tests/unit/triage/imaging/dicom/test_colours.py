"""Colour DICOM looks as its plain twin does, however it is labelled and packed."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from tests.support.decoder import code_of
from tests.support.photo_files import dicom, encode
from tests.support.rare_dicom import (
    CODECS,
    NATIVE,
    Array,
    bare,
    coded,
    edited,
    jpeg_in_dicom,
    palette_elements,
    with_component_ids,
    without_segments,
)
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(4, size=(90, 120))
RGB = np.asarray(PHOTO)
YBR = np.asarray(PHOTO.convert("YCbCr"))
COLOUR = dicom(RGB)
CLOSE = 2.0
APP0, APP14 = 0xE0, 0xEE


def _difference(decoder: Decoder, data: bytes, expected: Array = RGB) -> float:
    return float(np.abs(decoder.decode(data).pixels.astype(int) - expected).mean())


def _jpeg(**options: Any) -> bytes:
    return encode(PHOTO, "JPEG", quality=97, **options)


RGB_JPEG = _jpeg(keep_rgb=True)
"""Components that are RGB, with Adobe's marker."""


@pytest.mark.parametrize("label", ["RGB", "YBR_FULL_422", "YBR_FULL", "ybr_full_422", "Rgb "])
@pytest.mark.parametrize(
    "jpeg",
    [
        _jpeg(),  # dicom-rs#829: JFIF, labelled RGB
        _jpeg(subsampling=0),
        without_segments(_jpeg(), APP0),  # pydicom#2280: no marker, labelled RGB
        without_segments(_jpeg(subsampling=0), APP0),
        with_component_ids(without_segments(_jpeg(), APP0), b"\0\1\2"),  # RGB is never subsampled
        RGB_JPEG,
        with_component_ids(without_segments(RGB_JPEG, APP14), b"RGB"),
        with_component_ids(without_segments(RGB_JPEG, APP14), b"rgb"),
        _jpeg(progressive=True),
    ],
    ids=["jfif", "jfif-444", "bare", "bare-444", "other-ids", "adobe", "RGB-ids", "rgb-ids", "progressive"],
)
def test_jpeg_says_its_colours_itself(decoder: Decoder, jpeg: bytes, label: str) -> None:
    assert _difference(decoder, jpeg_in_dicom(PHOTO, jpeg, photometric=label)) <= CLOSE


@pytest.mark.parametrize(
    ("label", "jpeg"), [("RGB", without_segments(RGB_JPEG, APP14)), ("YBR_FULL", _jpeg(subsampling=0))]
)
def test_label_decides_when_a_jpeg_does_not_say_its_colours(decoder: Decoder, label: str, jpeg: bytes) -> None:
    """openslide#558: scanners write RGB with component ids 0, 1, 2 and no marker."""
    jpeg = with_component_ids(without_segments(jpeg, APP0), b"\0\1\2")

    assert _difference(decoder, jpeg_in_dicom(PHOTO, jpeg, photometric=label)) <= CLOSE


def test_marker_of_adobe_that_is_cut_is_ignored(decoder: Decoder) -> None:
    """openslide#558: the marker of some scanners has 10 bytes, which libjpeg does not take for Adobe's."""
    jpeg = with_component_ids(without_segments(RGB_JPEG, APP14), b"\0\1\2")

    assert _difference(decoder, jpeg_in_dicom(PHOTO, jpeg[:2] + b"\xff\xee\0\x0cAdobe" + bytes(5) + jpeg[2:])) <= CLOSE


def _odd(pixels: Array) -> Array:
    return pixels[:, :119]


def _subsampled(ybr: Array) -> Array:
    """Y1 Y2 Cb Cr; rows of odd width get one more pixel."""
    ybr = np.pad(ybr, [(0, 0), (0, ybr.shape[1] % 2), (0, 0)], mode="edge")
    pairs = ybr.reshape(ybr.shape[0], -1, 2, 3)
    chroma = pairs[..., 1:].mean(axis=2).round().astype(np.uint8)
    return np.concatenate([pairs[..., 0], chroma], axis=-1)


PARTIAL = (
    np.stack(
        [(YBR[..., 0] * (219 / 255) + 16), *((YBR[..., each] - 128.0) * (224 / 255) + 128 for each in (1, 2))], axis=-1
    )
    .round()
    .astype(np.uint8)
)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (dicom(YBR, photometric="YBR_FULL"), RGB),
        (dicom(YBR, photometric="ybr full"), RGB),
        (dicom(RGB, photometric="rgb"), RGB),
        (edited(dicom(YBR), PixelData=_subsampled(YBR).tobytes(), PhotometricInterpretation="YBR_FULL_422"), RGB),
        # fo-dicom#471: an odd number of columns
        (
            edited(
                dicom(_odd(YBR)), PixelData=_subsampled(_odd(YBR)).tobytes(), PhotometricInterpretation="YBR_FULL_422"
            ),
            _odd(RGB),
        ),
        # deid#240: labelled YBR_FULL_422 although no chroma is missing
        (dicom(YBR, photometric="YBR_FULL_422"), RGB),
        (
            edited(
                dicom(YBR, photometric="YBR_FULL", transfer_syntax=RLELossless),
                PhotometricInterpretation="YBR_FULL_422",
            ),
            RGB,
        ),
        (
            edited(dicom(YBR), PixelData=_subsampled(PARTIAL).tobytes(), PhotometricInterpretation="YBR_PARTIAL_422"),
            RGB,
        ),
        # fo-dicom#1437: RGB that a converter decoded from JPEG 2000 without a new label
        (dicom(RGB, photometric="YBR_RCT"), RGB),
        (dicom(np.moveaxis(RGB, 2, 0).reshape(RGB.shape), PlanarConfiguration=1), RGB),
        (dicom(RGB.astype(np.uint16) * 257), RGB),
        (dicom(RGB.astype(np.uint16) * 16, bits_stored=12), RGB),
        # fo-dicom#1992: 8 bits in words, with and without saying so
        (dicom(RGB.astype(np.uint16), bits_stored=8), RGB),
        (dicom(RGB.astype(np.uint16), bits_stored=16), RGB),
        (dicom(RGB, WindowCenter=10, WindowWidth=20), RGB),  # windows are for grey
    ],
)
def test_native_colour_is_read(decoder: Decoder, file: bytes, expected: Array) -> None:
    assert _difference(decoder, file, expected) <= CLOSE


@pytest.mark.parametrize("missing", ["PlanarConfiguration", "HighBit", "PixelRepresentation", "BitsStored"])
@pytest.mark.parametrize("syntax", NATIVE)
def test_missing_elements_have_defaults(decoder: Decoder, missing: str, syntax: str) -> None:
    """pydicom#151: planes are not assumed."""
    file = edited(COLOUR, syntax=NATIVE[syntax], without=(missing,), PixelData=("OB", RGB.tobytes()))

    assert _difference(decoder, file) == 0


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_elements_with_a_vr_of_bytes_are_read_as_defined(decoder: Decoder, vr: str) -> None:
    height, width = RGB.shape[:2]
    sizes: dict[str, Any] = {
        keyword: (vr, n.to_bytes(2, "little")) for keyword, n in (("Rows", height), ("Columns", width))
    }
    grey = dicom(RGB[..., 0], photometric="MONOCHROME2")

    assert _difference(decoder, edited(COLOUR, **sizes, NumberOfFrames=(vr, b"1 "))) == 0
    inverted = np.repeat(255 - RGB[..., :1], 3, axis=2)
    assert _difference(decoder, edited(grey, PhotometricInterpretation=(vr, b"MONOCHROME1 ")), inverted) == 0


def test_colour_that_states_one_sample_is_read_by_its_length(decoder: Decoder) -> None:
    assert _difference(decoder, edited(COLOUR, SamplesPerPixel=1)) == 0
    grey = edited(dicom(RGB[..., 0], photometric="MONOCHROME2"), PhotometricInterpretation="RGB")
    assert _difference(decoder, grey, np.repeat(RGB[..., :1], 3, axis=2)) == 0


def test_words_of_8_bit_pixels_are_swapped_in_big_endian(decoder: Decoder) -> None:
    """pydicom#1680: VR OW; VR OB is not swapped."""
    words = np.frombuffer(RGB.tobytes(), "<u2").byteswap().tobytes()

    assert _difference(decoder, edited(COLOUR, syntax=ExplicitVRBigEndian, PixelData=("OW", words))) == 0


@pytest.mark.parametrize(
    ("mct", "label", "source"),
    [
        (1, "YBR_RCT", PHOTO),
        (1, "RGB", PHOTO),  # wsidicomizer#158
        (1, "YBR_FULL", PHOTO),
        (0, "RGB", PHOTO),
        (0, "YBR_FULL", Image.fromarray(YBR)),  # cornerstoneWADOImageLoader#308
    ],
)
@pytest.mark.parametrize("is_boxed", [False, True])
def test_jpeg_2000_says_whether_its_colours_are_transformed(
    decoder: Decoder, mct: int, label: str, source: Image.Image, is_boxed: bool
) -> None:
    frame = encode(source, "JPEG2000", irreversible=False, mct=mct, no_jp2=not is_boxed)
    file = dicom(RGB, photometric=label, transfer_syntax=JPEG2000Lossless, encapsulated=[frame])

    assert _difference(decoder, file) <= CLOSE


INDEXED = PHOTO.quantize(200, dither=Image.Dither.NONE)
PALETTE = np.array(INDEXED.getpalette(), np.uint8).reshape(-1, 3)
INDICES = np.asarray(INDEXED)
PALETTE_RGB = PALETTE[INDICES]


@pytest.mark.parametrize(
    ("bits", "packing"),
    [
        (8, "bytes"),
        (8, "low"),  # slim#173: entries of 8 bits as words
        (8, "both"),  # cornerstoneWADOImageLoader#138: 8 stated for entries of 16
        (16, "low"),  # vtk-dicom#114
        (16, "high"),
        (16, "both"),
        (16, "bytes"),
    ],
)
@pytest.mark.parametrize("syntax", [*NATIVE, *CODECS])
def test_palette_is_applied_however_it_is_packed(decoder: Decoder, bits: int, packing: str, syntax: str) -> None:
    file = dicom(INDICES, photometric="palette color", **palette_elements(PALETTE, bits=bits, packing=packing))
    file = _as_big_endian(file) if syntax == "big endian" else file
    file = edited(file, syntax=NATIVE[syntax]) if syntax in NATIVE else coded(file, CODECS[syntax])

    assert _difference(decoder, file, PALETTE_RGB) <= 1


def _as_big_endian(file: bytes) -> bytes:
    """OW is stored in words of big endian."""
    dataset = dcmread(io.BytesIO(file))
    names = [*(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")), "PixelData"]
    swapped: dict[str, Any] = {
        name: ("OW", np.frombuffer(dataset[name].value, "<u2").byteswap().tobytes()) for name in names
    }
    return edited(file, **swapped)


def test_palette_starts_at_its_first_value(decoder: Decoder) -> None:
    """fo-dicom#817: values outside of the table get its first or last entry."""
    elements = palette_elements(PALETTE[20:180], bits=8, first=20, packing="bytes")
    file = dicom(INDICES, photometric="PALETTE COLOR", **elements)

    assert _difference(decoder, file, PALETTE[INDICES.clip(20, 179)]) == 0


def test_palette_of_16_bit_indices_has_65536_entries(decoder: Decoder) -> None:
    """OHIF#2366: a number of 0 means 65536."""
    palette = np.stack([np.arange(65536) >> 8] * 3, axis=-1).astype(np.uint8)
    file = dicom(
        INDICES.astype(np.uint16) << 8,
        photometric="PALETTE COLOR",
        **palette_elements(palette, bits=8, packing="bytes"),
    )

    assert _difference(decoder, file, INDICES[..., None]) == 0


def test_dark_palette_stays_dark(decoder: Decoder) -> None:
    elements = palette_elements(PALETTE // 6, bits=16, packing="both")

    assert _difference(decoder, dicom(INDICES, photometric="PALETTE COLOR", **elements), PALETTE_RGB // 6) <= 1


def test_palette_that_is_missing_is_a_damaged_header(decoder: Decoder) -> None:
    assert code_of(decoder, dicom(INDICES, photometric="PALETTE COLOR")) is ErrorCode.CORRUPT


@pytest.mark.parametrize("label", ["ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "XYB"])
def test_other_colour_spaces_are_unsupported(decoder: Decoder, label: str) -> None:
    assert code_of(decoder, dicom(RGB, photometric=label)) is ErrorCode.UNSUPPORTED_VARIANT


def test_cells_of_12_bits_are_unsupported(decoder: Decoder) -> None:
    """PS3.5 annex D: such files stem from ACR-NEMA."""
    assert code_of(decoder, edited(COLOUR, BitsAllocated=12, BitsStored=12)) is ErrorCode.UNSUPPORTED_VARIANT


def test_size_is_that_of_the_jpeg(decoder: Decoder) -> None:
    """Weasis#226: Rows and Columns are exchanged."""
    file = edited(jpeg_in_dicom(PHOTO, _jpeg()), Rows=120, Columns=90)

    assert _difference(decoder, file) <= CLOSE


def test_bare_jpeg_frames_are_read_without_group_2(decoder: Decoder) -> None:
    file = bare(jpeg_in_dicom(PHOTO, _jpeg()))

    assert _difference(decoder, file) <= CLOSE


def test_encapsulated_pixels_are_read_when_the_transfer_syntax_says_native(decoder: Decoder) -> None:
    """fo-dicom#1112, DICOMcloud#22: the transfer syntax was not updated."""
    file = edited(COLOUR, PixelData=("OB", encapsulate([_jpeg()])))

    assert _difference(decoder, file) <= CLOSE
