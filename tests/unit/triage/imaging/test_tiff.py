import struct
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tests.support.decoder import code_of
from tests.support.photo_files import STORED, encode, stored
from tests.support.rare_files import Page, preview_first, tiff
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(4, size=(150, 200))
PIXELS = np.asarray(PHOTO)
DEEP = PIXELS.astype(np.uint16) * 257
SMALL = np.asarray(PHOTO.resize((80, 60)))
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
PREVIEW, MASK, PAGE, CFA, LINEAR_RAW = 1, 4, 2, 32803, 34892


def _same(decoder: Decoder, data: bytes) -> bool:
    return np.array_equal(np.asarray(decoder.decode(data).to_image()), PIXELS)


@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_picture_is_assessed_when_the_preview_comes_first(
    decoder: Decoder, order: Literal["<", ">"], is_big: bool
) -> None:
    """libvips#1416: thumbnails of DNG files come first; OpenImageIO#4626: pictures in SubIFDs."""
    chain = tiff(Page(SMALL, {254: PREVIEW}), Page(PIXELS, {254: 0}), order=order, is_big=is_big)
    unstated = tiff(Page(SMALL, {}), Page(PIXELS, {}), order=order, is_big=is_big)
    old = tiff(Page(SMALL, {255: 2}), Page(PIXELS, {255: 1}), order=order, is_big=is_big)
    nested = Page(SMALL, {254: PREVIEW}, (Page(SMALL, {254: PREVIEW}, (Page(PIXELS, {254: 0}),)),))

    for data in (chain, unstated, old, preview_first(PHOTO, order=order, is_big=is_big), tiff(nested, order=order)):
        assert _same(decoder, data)


def test_picture_is_assessed_when_previews_and_masks_follow(decoder: Decoder) -> None:
    """libvips#1416: a pyramid of smaller copies, in SubIFDs or behind the picture."""
    previews = (Page(SMALL, {254: PREVIEW}), Page(PIXELS[..., 0], {254: MASK}))

    photo = decoder.decode(tiff(Page(PIXELS, {254: 0}, previews)))
    assert (photo.n_frames, photo.frame) == (1, 0)
    assert np.array_equal(photo.pixels, PIXELS)
    assert _same(decoder, tiff(Page(PIXELS, {}), *previews))


def test_first_page_is_assessed_when_a_document_has_several(decoder: Decoder) -> None:
    photo = decoder.decode(tiff(Page(PIXELS, {254: PAGE}), Page(255 - PIXELS, {254: PAGE})))

    assert (photo.n_frames, photo.frame) == (2, 0)
    assert np.array_equal(photo.pixels, PIXELS)


@pytest.mark.parametrize("photometric", [CFA, LINEAR_RAW])
def test_raw_sensor_data_is_unsupported(decoder: Decoder, photometric: int) -> None:
    """OpenImageIO#4626: a DNG holds a preview and the raw picture."""
    raw = Page(DEEP[..., 0], {254: 0, 262: photometric})

    for data in (tiff(Page(SMALL, {254: PREVIEW}, (raw,))), tiff(raw), tiff(Page(SMALL, {254: PREVIEW}), raw)):
        assert code_of(decoder, data) is ErrorCode.UNSUPPORTED_VARIANT


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_the_preview_directory_is_that_of_the_picture(
    decoder: Decoder, quarters: Image.Image, orientation: int
) -> None:
    """DNG 1.7, Orientation: stated in the first directory for the whole file."""
    pixels = np.asarray(stored(quarters, orientation))
    data = tiff(Page(pixels[:32, :32], {254: PREVIEW, 274: orientation}, (Page(pixels, {254: 0}),)))

    assert np.array_equal(decoder.decode(data).upright, np.asarray(quarters))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("is_big", [False, True])
@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("pixels", [PIXELS, DEEP], ids=["8", "16"])
def test_every_layout_gives_the_same_pixels(
    decoder: Decoder,
    order: Literal["<", ">"],
    is_big: bool,
    tile: int | None,
    is_packed: bool,
    is_planar: bool,
    pixels: "np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]",
) -> None:
    page = Page(pixels, {}, is_planar=is_planar, tile=tile, is_packed=is_packed)

    assert _same(decoder, tiff(page, order=order, is_big=is_big))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_negative_grey_is_inverted(
    decoder: Decoder, order: Literal["<", ">"], kind: type[np.uint8 | np.uint16]
) -> None:
    """TIFF 6.0, WhiteIsZero, in which scanners write."""
    top = np.iinfo(kind).max
    grey = top - PIXELS[..., 0].astype(kind) * (top // 255)

    photo = decoder.decode(tiff(Page(grey.astype(kind), {262: 0}), order=order))

    assert np.abs(photo.pixels[..., 0].astype(int) - PIXELS[..., 0]).max() <= 1


@pytest.mark.parametrize("tags", [{339: 2}, {258: 32}, {259: 34712}], ids=["signed", "32-bit", "JPEG 2000"])
def test_variant_that_pillow_misreads_is_unsupported(decoder: Decoder, tags: dict[int, int | bytes]) -> None:
    assert code_of(decoder, tiff(Page(DEEP[..., 0], tags))) is ErrorCode.UNSUPPORTED_VARIANT


def test_damaged_tags_do_not_cost_the_picture(decoder: Decoder) -> None:
    """Pillow#5528: broken metadata; here an Exif directory out of the file, garbage, and a wrong orientation."""
    garbage: dict[int, int | bytes] = {
        34665: 0xFFFFFF00,
        700: b"\xff" * 999,
        274: 99,
        282: b"\0" * 8,
        34675: b"no profile" * 9,
        34853: 7,
    }

    assert _same(decoder, tiff(Page(PIXELS, garbage)))


def test_alpha_that_the_file_does_not_declare_is_ignored(decoder: Decoder) -> None:
    hidden = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])

    for extra_samples in (0, 2):  # unspecified; alpha that hides the whole photo
        assert _same(decoder, tiff(Page(hidden, {338: extra_samples})))


def test_file_is_truncated_when_it_ends_before_its_pixels(decoder: Decoder) -> None:
    data = encode(PHOTO, "TIFF")

    assert code_of(decoder, data[:9]) is ErrorCode.TRUNCATED
    cut = bytearray(tiff(Page(PIXELS, {})))
    place = cut.rindex(struct.pack("<HHI", 273, 4, 1)) + 8
    cut[place : place + 4] = struct.pack("<I", len(cut) - 1000)
    assert code_of(decoder, bytes(cut)) is ErrorCode.TRUNCATED


def test_directories_in_a_circle_end(decoder: Decoder) -> None:
    data = bytearray(tiff(Page(PIXELS, {})))
    (start,) = struct.unpack_from("<I", data, 4)
    data[-4:] = struct.pack("<I", start)

    assert _same(decoder, bytes(data))


@pytest.mark.parametrize("size", [(300, 400), (90, 120)])
def test_hole_in_a_jpeg_within_a_tiff_is_corrupt(decoder: Decoder, size: tuple[int, int]) -> None:
    """libvips#2309: libtiff reads on, as it does when bytes are missing."""
    data = bytearray(encode(draw_skin_photo(5, size=size), "TIFF", compression="jpeg", quality=95))
    assert decoder.decode(bytes(data)).size == size[::-1]
    middle = data.index(b"\xff\xda") + 600
    data[middle : middle + 500] = bytes(500)

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT
