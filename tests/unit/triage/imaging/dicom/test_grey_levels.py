"""Grey DICOM looks as its plain 8-bit twin does."""

from typing import Any

import numpy as np
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from structlog.testing import capture_logs

from tests.support.photo_files import dicom
from tests.support.rare_dicom import Array, deep, edited, grey_photo, item
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

GREY = grey_photo(draw_skin_photo(4, size=(90, 120)))
CLOSE = 2.0


def _file(pixels: Array, bits: int, **elements: Any) -> bytes:
    return dicom(pixels, photometric=elements.pop("photometric", "MONOCHROME2"), bits_stored=bits, **elements)


EIGHT = _file(GREY, 8)
TWELVE = _file(deep(GREY, 12), 12)


def _difference(decoder: Decoder, data: bytes, expected: Array = GREY) -> float:
    shown = decoder.decode(data).pixels
    assert (shown == shown[..., :1]).all()
    return float(np.abs(shown[..., 0].astype(int) - expected).mean())


WHOLE: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        # the picture keeps its darkness: a window is the last transformation of C.11.2
        (_file(deep(GREY, 12) // 8, 16, **WHOLE), GREY // 8),
        # fo-dicom#1891: VOILUTFunction is empty
        (edited(TWELVE, **WHOLE, VOILUTFunction=""), GREY),
        # cornerstone3D#2856: the function is padded or in small letters
        (edited(TWELVE, WindowCenter=2047.5, WindowWidth=4095, VOILUTFunction="linear_exact "), GREY),
        (edited(TWELVE, WindowCenter=["2048", "300"], WindowWidth=["4096", "10"]), GREY),
        # pydicom#1073: the first window is invalid, the second is not
        (edited(TWELVE, WindowCenter=["1", "1024"], WindowWidth=["0", "2048"]), (2.0 * GREY).clip(0, 255)),
        # dicom-rs#826: a window narrower than 1 that spans all values, since the slope is small
        (
            edited(
                TWELVE,
                WindowCenter="0.5",
                WindowWidth="0.99975",
                RescaleSlope="0.0002442002587",
                RescaleIntercept="-0.0002442",
            ),
            GREY,
        ),
        # cornerstone3D#2745: the window is in the functional groups
        (
            edited(
                _file(deep(GREY, 12) // 8, 16),
                SharedFunctionalGroupsSequence=item(FrameVOILUTSequence=item(**WHOLE)),
            ),
            GREY // 8,
        ),
        (edited(TWELVE, **WHOLE, RescaleSlope=2, RescaleIntercept=0), (2.0 * GREY).clip(0, 255)),
        # pydicom#2353: so is the slope
        (
            edited(
                TWELVE,
                **WHOLE,
                PerFrameFunctionalGroupsSequence=item(
                    PixelValueTransformationSequence=item(RescaleSlope=2, RescaleIntercept=0)
                ),
            ),
            (2.0 * GREY).clip(0, 255),
        ),
        # fo-dicom#1975: slope and intercept have no value
        (edited(TWELVE, **WHOLE, RescaleSlope=None, RescaleIntercept=None), GREY),
        # GateTools#68: a slope of 0 would blacken the picture
        (edited(TWELVE, **WHOLE, RescaleSlope=0, RescaleIntercept=0), GREY),
        # cornerstone3D#1925: a slope below 1
        (
            edited(
                TWELVE, WindowCenter="20.475", WindowWidth="40.95", RescaleSlope="0.01", VOILUTFunction="LINEAR_EXACT"
            ),
            GREY,
        ),
    ],
)
def test_window_gives_the_levels_of_the_standard(decoder: Decoder, file: bytes, expected: Array) -> None:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    with capture_logs():
        assert _difference(decoder, file, expected) <= CLOSE


def test_sigmoid_window_is_applied(decoder: Decoder) -> None:
    file = edited(TWELVE, WindowCenter=2048, WindowWidth=2000, VOILUTFunction="SIGMOID")

    expected = 255 / (1 + np.exp(-4 * (deep(GREY, 12).astype(float) - 2048) / 2000))
    assert _difference(decoder, file, expected) <= 1


@pytest.mark.parametrize("file", [EIGHT, TWELVE], ids=["8-bit", "12-bit"])
@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 128, "WindowWidth": 0},  # pydicom#1073
        {"WindowCenter": 128, "WindowWidth": -200},  # fo-dicom#161
        {"WindowCenter": "0.5", "WindowWidth": "0.9"},  # fo-dicom#1951: no LINEAR window is narrower than 1
        {"WindowCenter": 128, "WindowWidth": 100, "VOILUTFunction": "GAMMA"},  # fo-dicom#1999
        {"WindowCenter": 128, "WindowWidth": None},
        {"VOILUTSequence": item(LUTDescriptor=[4096, 0, 8])},  # fo-dicom#949: a VOI LUT without data
    ],
    ids=["zero", "negative", "narrow", "function", "half", "table"],
)
def test_invalid_window_is_ignored_and_logged(decoder: Decoder, file: bytes, elements: dict[str, Any]) -> None:
    with capture_logs() as lines:
        assert _difference(decoder, edited(file, **elements)) <= CLOSE

    assert [(line["event"], line["kind"]) for line in lines] == [("metadata.ignored", "invalid_window")]


def test_valid_window_is_not_logged(decoder: Decoder) -> None:
    with capture_logs() as lines:
        decoder.decode(edited(TWELVE, **WHOLE))

    assert lines == []


RAMP = np.round(np.arange(4096) * (255 / 4095))


@pytest.mark.parametrize(
    "table",
    [
        item(LUTDescriptor=[4096, 0, 8], LUTData=RAMP.astype(np.uint8).tobytes()),
        item(LUTDescriptor=[4096, 0, 16], LUTData=(RAMP * 257).astype("<u2").tobytes()),
        # dicom-rs#825: Agfa states 16 bits for entries of 12
        item(LUTDescriptor=[4096, 0, 16], LUTData=(RAMP * 16).astype("<u2").tobytes()),
        # dicom-microscopy-viewer#246: entries of 8 bits as words
        item(LUTDescriptor=[4096, 0, 8], LUTData=RAMP.astype("<u2").tobytes()),
        # fo-dicom#1062: values beyond the table get its last entry
        item(LUTDescriptor=[4090, 0, 8], LUTData=RAMP[:4090].astype(np.uint8).tobytes()),
    ],
    ids=["bytes", "words", "narrower", "bytes in words", "short"],
)
def test_voi_lut_is_applied_instead_of_a_window(decoder: Decoder, table: Sequence) -> None:
    file = edited(TWELVE, VOILUTSequence=table, WindowCenter=100, WindowWidth=10)

    assert _difference(decoder, file) <= CLOSE


def test_voi_lut_keeps_a_dark_picture_dark(decoder: Decoder) -> None:
    file = edited(TWELVE, VOILUTSequence=item(LUTDescriptor=[4096, 0, 8], LUTData=(RAMP // 4).astype("B").tobytes()))

    assert _difference(decoder, file, GREY // 4) <= CLOSE


def test_first_value_of_a_lut_has_the_sign_of_its_input(decoder: Decoder) -> None:
    """dcm4che#1521, cornerstone#382: the second value of the descriptor is signed only if the input is."""
    signed = _file(deep(GREY, 12).astype(np.int16) - 2048, 12)
    offset = _file(deep(GREY, 12) + 60_000, 16)
    data = RAMP.astype(np.uint8).tobytes()

    for file, first in ((signed, 63488), (offset, 60_000)):
        table = item(LUTDescriptor=("US", [4096, first, 8]), LUTData=("OW", data))
        assert _difference(decoder, edited(file, VOILUTSequence=table)) <= CLOSE


def test_modality_lut_is_applied_before_a_window(decoder: Decoder) -> None:
    """cornerstoneWADOImageLoader#259: entries above 32767 are not negative."""
    table = item(
        LUTDescriptor=[4096, 0, 16], LUTData=(np.arange(4096) * 16).astype("<u2").tobytes(), ModalityLUTType="US"
    )
    file = edited(TWELVE, ModalityLUTSequence=table, WindowCenter=32768, WindowWidth=65536)

    assert _difference(decoder, file) <= CLOSE
    assert _difference(decoder, edited(TWELVE, ModalityLUTSequence=table), _stretched(GREY)) <= CLOSE


def test_negative_slope_inverts(decoder: Decoder) -> None:
    for file in (EIGHT, TWELVE):
        assert _difference(decoder, edited(file, RescaleSlope=-1, RescaleIntercept=255), 255 - GREY) <= CLOSE


@pytest.mark.parametrize(("slope", "intercept"), [("1e308", 0), ("1e-320", 0), ("1", "1e30")])
def test_slope_that_tells_no_values_apart_is_ignored(decoder: Decoder, slope: str, intercept: object) -> None:
    for file in (EIGHT, TWELVE):
        assert _difference(decoder, edited(file, RescaleSlope=slope, RescaleIntercept=intercept)) <= CLOSE


@pytest.mark.parametrize("outlier", [0, 65535])
def test_hot_or_dead_pixel_does_not_change_the_picture(decoder: Decoder, outlier: int) -> None:
    pixels = 500 + deep(GREY, 10)
    pixels[7, 7] = outlier

    assert _difference(decoder, _file(pixels, 16), _stretched(GREY)) <= CLOSE


def _stretched(grey: Array) -> Array:
    stretched: Array = (grey.astype(float) - grey.min()) * (255 / (int(grey.max()) - int(grey.min())))
    return stretched


def test_deep_grey_that_uses_its_bits_keeps_its_levels(decoder: Decoder) -> None:
    narrow = 100 + GREY // 2  # no black, no white

    for bits in (10, 12, 16):
        assert _difference(decoder, _file(deep(narrow, bits), bits), narrow) <= 1


@pytest.mark.parametrize("padding", [("US", 63488), ("SS", -2048)], ids=["unsigned", "signed"])
def test_padding_does_not_count(decoder: Decoder, padding: tuple[str, int]) -> None:
    """fo-dicom#406: and some writers state the padding value of signed pixels as an unsigned number."""
    pixels = deep(GREY, 10).astype(np.int16)
    pixels[:30] = -2048
    file = _file(pixels, 16)

    shown = decoder.decode(edited(file, PixelPaddingValue=padding)).pixels[30:, :, 0]
    assert np.abs(shown - _stretched(GREY[30:])).mean() <= CLOSE
    assert np.abs(decoder.decode(file).pixels[30:, :, 0] - _stretched(GREY[30:])).mean() > 20


def test_picture_of_one_level_is_shown(decoder: Decoder) -> None:
    """fo-dicom#1261."""
    assert _difference(decoder, _file(np.zeros((80, 80), np.uint16), 16), np.zeros((80, 80))) == 0
    assert _difference(decoder, _file(np.full((80, 80), 3000, np.uint16), 12), np.full((80, 80), 187)) <= 1


def test_monochrome1_is_inverted_after_its_window(decoder: Decoder) -> None:
    dark = _file(deep(GREY, 12) // 8, 16, photometric="MONOCHROME1", **WHOLE)

    assert _difference(decoder, dark, 255 - GREY // 8) <= CLOSE


@pytest.mark.parametrize(
    ("pixels", "elements"),
    [
        # vtk-dicom#134, fo-dicom#138: the bits above hold an overlay
        (deep(GREY, 12) | 0xA000, {"BitsStored": 12, "HighBit": 11}),
        # cornerstone3D#2868: HighBit says where the bits are
        (deep(GREY, 12) << 4 | 7, {"BitsStored": 12, "HighBit": 15}),
        # fo-dicom#187, dicom2nifti#13: signed, and the bits above do not repeat the sign
        (
            (deep(GREY, 12).astype(np.int16) - 2048).astype(np.uint16) & 0xFFF,
            {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "WindowCenter": 0, "WindowWidth": 4096},
        ),
        # Weasis#94: 8 of 16 bits
        (GREY.astype(np.uint16), {"BitsStored": 8, "HighBit": 7}),
        (GREY.astype(np.uint16) | 0xFF00, {"BitsStored": 8, "HighBit": 7}),
        ((GREY.astype(int) - 128).astype(np.int8), {"PixelRepresentation": 1}),
        (deep(GREY, 16).astype(np.uint32) << 16, {"BitsStored": 32, "HighBit": 31}),
        (GREY >> 2, {"BitsStored": 6, "HighBit": 5}),
    ],
    ids=["overlay", "high bit", "signed", "8 of 16", "8 of 16 and overlay", "signed 8", "32", "6 of 8"],
)
def test_stored_bits_are_found(decoder: Decoder, pixels: Array, elements: dict[str, Any]) -> None:
    file = edited(_file(pixels, 8 * pixels.dtype.itemsize), **elements)

    assert _difference(decoder, file, GREY if elements.get("BitsStored") != 32 else _stretched(GREY)) <= CLOSE


def test_float_pixels_are_stretched(decoder: Decoder) -> None:
    pixels = (GREY / 255).astype(np.float32)
    pixels[3, 3] = np.inf
    pixels[3, 4] = np.nan
    file = edited(EIGHT, without=("PixelData", "PixelRepresentation", "BitsStored", "HighBit"), BitsAllocated=32)

    assert _difference(decoder, _with_floats(file, pixels), _stretched(GREY)) <= CLOSE


def _with_floats(file: bytes, pixels: Array) -> bytes:
    return edited(file, FloatPixelData=pixels.tobytes())


@pytest.mark.parametrize(
    "missing",
    [
        ("HighBit",),
        ("PixelRepresentation",),
        ("BitsStored", "HighBit"),
        ("PhotometricInterpretation",),
        ("SamplesPerPixel",),
        ("PixelRepresentation", "HighBit", "SamplesPerPixel", "PhotometricInterpretation"),
    ],
)
@pytest.mark.parametrize("is_implicit", [False, True])
def test_missing_elements_have_defaults(decoder: Decoder, missing: tuple[str, ...], is_implicit: bool) -> None:
    """fo-dicom#340 (PhotometricInterpretation), pymedphys#1541 (BitsStored), wsi data of scanners (the others)."""
    file = edited(EIGHT, without=missing, syntax=ImplicitVRLittleEndian if is_implicit else None)

    assert _difference(decoder, file) == 0
