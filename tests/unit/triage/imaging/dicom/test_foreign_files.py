import io
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from tests.support.decoder import code_of
from tests.support.photo_files import dicom, encode
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.formats import MediaType
from triage.imaging.limits import ImageLimits
from triage.samples.drawing import draw_skin_photo

FOLDER = Path(pydicom.data.__file__).parent / "test_files"

# transfer syntaxes and photometric interpretations as other programs write them; pydicom ships these files
COLOUR_CHART = [
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_32bit.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
]


@pytest.fixture(scope="module")
def tolerant() -> Decoder:
    """Accepts images of any size."""
    return Decoder(ImageLimits(min_side=1))


@pytest.fixture(scope="module", autouse=True)
def _closed(tolerant: Decoder) -> object:
    yield
    tolerant.close()


@pytest.mark.parametrize("name", COLOUR_CHART)
def test_colours_match_the_chart_for_every_transfer_syntax(tolerant: Decoder, name: str) -> None:
    photo = tolerant.decode((FOLDER / name).read_bytes())

    # ten bars of ten rows each: red, its half, green, its half, blue, its half, black, two greys, white
    colours = photo.pixels[[5, 25, 45, 65, 95], 50].astype(int)
    assert np.abs(colours - [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0], [255, 255, 255]]).max() <= 5


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("MR_small_implicit.dcm", (64, 64)),
        ("MR_small_bigendian.dcm", (64, 64)),
        ("MR_small_RLE.dcm", (64, 64)),
        ("MR_small_jp2klossless.dcm", (64, 64)),
        ("MR_small_jpeg_ls_lossless.dcm", (64, 64)),
        ("image_dfl.dcm", (512, 512)),
        ("examples_overlay.dcm", (484, 300)),
        ("liver_1frame.dcm", (512, 512)),
        ("examples_jpeg2k.dcm", (640, 480)),
        ("examples_palette.dcm", (800, 350)),
        ("JPEGLSNearLossless_16.dcm", (10, 50)),
    ],
)
def test_image_is_decoded_for_every_transfer_syntax(tolerant: Decoder, name: str, size: tuple[int, int]) -> None:
    photo = tolerant.decode((FOLDER / name).read_bytes())

    assert photo.size == size
    assert photo.pixels.max() > photo.pixels.min()


def test_lossless_transfer_syntaxes_give_equal_pixels(tolerant: Decoder) -> None:
    names = ("implicit", "bigendian", "RLE", "jp2klossless", "jpeg_ls_lossless")
    pictures = [tolerant.decode((FOLDER / f"MR_small_{name}.dcm").read_bytes()).pixels for name in names]

    for picture in pictures[1:]:
        assert np.array_equal(picture, pictures[0])


def test_palette_is_applied(tolerant: Decoder) -> None:
    photo = tolerant.decode((FOLDER / "examples_palette.dcm").read_bytes())

    assert len(np.unique(photo.pixels.reshape(-1, 3), axis=0)) > 10
    assert not np.array_equal(photo.pixels[..., 0], photo.pixels[..., 1])


def test_middle_frame_is_decoded_when_a_file_has_several(tolerant: Decoder) -> None:
    frames = np.stack([np.full((70, 80, 3), 40 * number, np.uint8) for number in range(5)])

    photo = tolerant.decode(dicom(frames, n_frames=5))

    assert (photo.n_frames, photo.frame) == (5, 2)
    assert (photo.pixels == 80).all()


def _grey_ramp() -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.tile(np.arange(100, dtype=np.uint16) * 10, (70, 1))


def test_voi_window_is_applied(tolerant: Decoder) -> None:
    photo = tolerant.decode(
        dicom(_grey_ramp(), photometric="MONOCHROME2", bits_stored=12, WindowCenter=500, WindowWidth=200)
    )

    row = photo.pixels[0, :, 0].astype(int)
    assert row[:40].max() == 0
    assert row[61:].min() == 255
    assert abs(row[50] - 128) < 8


def test_monochrome1_is_inverted(tolerant: Decoder) -> None:
    bright, dark = (
        tolerant.decode(dicom(_grey_ramp(), photometric=name)).pixels for name in ("MONOCHROME1", "MONOCHROME2")
    )

    assert np.array_equal(bright, 255 - dark)


def test_8_bit_grey_keeps_its_levels(tolerant: Decoder) -> None:
    photo = tolerant.decode(dicom(np.full((70, 70), 20, np.uint8), photometric="MONOCHROME2"))

    assert (photo.pixels == 20).all()


def test_icc_profile_of_the_data_set_is_kept(tolerant: Decoder) -> None:
    photo = tolerant.decode(dicom(np.full((70, 70, 3), 90, np.uint8), ICCProfile=b"a profile."))

    assert photo.profile == b"a profile."


@pytest.mark.parametrize("name", ["test-SR.dcm", "rtplan.dcm", "waveform_ecg.dcm", "reportsi.dcm"])
def test_object_without_pixel_data_has_no_pixels(tolerant: Decoder, name: str) -> None:
    assert code_of(tolerant, (FOLDER / name).read_bytes()) is ErrorCode.NO_PIXELS


def test_unsupported_transfer_syntax_has_its_own_code(tolerant: Decoder) -> None:
    pixels = np.zeros((70, 70, 3), np.uint8)
    jpeg = [encode(Image.fromarray(pixels), "JPEG")]

    for syntax in (HTJ2KLossless, UID("1.2.840.10008.1.2.4.102")):
        data = dicom(pixels, transfer_syntax=syntax, encapsulated=jpeg)
        assert code_of(tolerant, data) is ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX
    assert code_of(tolerant, (FOLDER / "JPGExtended.dcm").read_bytes()) is ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX
    assert dcmread(FOLDER / "JPGExtended.dcm").file_meta.TransferSyntaxUID == JPEGExtended12Bit


def test_file_is_truncated_when_pixel_bytes_are_missing(tolerant: Decoder) -> None:
    assert code_of(tolerant, (FOLDER / "MR_truncated.dcm").read_bytes()) is ErrorCode.TRUNCATED


@pytest.mark.parametrize("name", ["nested_priv_SQ.dcm", "JPEG2000-embedded-sequence-delimiter.dcm"])
def test_damaged_data_set_has_a_code(tolerant: Decoder, name: str) -> None:
    assert code_of(tolerant, (FOLDER / name).read_bytes()) in {ErrorCode.CORRUPT, ErrorCode.NO_PIXELS}


def test_size_is_checked_before_pixels_are_decoded(decoder: Decoder) -> None:
    huge = dicom(np.zeros((40, 40, 3), np.uint8), Rows=40_000, Columns=40_000)

    assert code_of(decoder, huge) is ErrorCode.TOO_MANY_PIXELS
    assert code_of(decoder, dicom(np.zeros((20, 50, 3), np.uint8))) is ErrorCode.TOO_SMALL
    many = dicom(np.zeros((100, 40, 40, 3), np.uint8), n_frames=100)
    assert code_of(decoder, many) is ErrorCode.TOO_MANY_FRAMES


def test_uncompressed_photo_is_exact_when_its_value_representations_are_implicit(tolerant: Decoder) -> None:
    image = draw_skin_photo(2, size=(80, 90))
    source = dcmread(io.BytesIO(dicom(np.asarray(image))))
    source.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    file = io.BytesIO()
    source.save_as(file)

    assert np.array_equal(tolerant.decode(file.getvalue()).pixels, np.asarray(image))


def test_dicom_is_detected_when_its_preamble_is_a_tiff_header(tolerant: Decoder) -> None:
    data = dicom(np.full((70, 80, 3), 9, np.uint8))

    assert tolerant.decode(b"II*\0" + data[4:]).media_type is MediaType.DICOM
