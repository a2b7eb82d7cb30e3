import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.decoder import code_of
from tests.support.photo_files import encode
from tests.support.rare_files import (
    Page,
    as_hlg,
    as_linear,
    as_pq,
    chunk,
    in_adobe_rgb,
    tiff,
    with_chunks,
    with_code_points,
)
from triage.errors import ErrorCode
from triage.imaging.colour import to_srgb
from triage.imaging.decode import Decoder
from triage.imaging.photo import DecodedPhoto
from triage.imaging.profiles import BT709, DISPLAY_P3, HLG, PQ, code_points_of, code_points_profile, rgb_profile
from triage.model.patches import resize_photo
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(7, size=(600, 800)).resize((400, 300))
LEVELS = 2
"""Largest mean difference from the same picture in sRGB."""
LEVELS_OF_LOSSY_PQ = 3.5
"""PQ leaves 148 of 256 levels for what sRGB shows, so what a lossy format changes is magnified."""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = rgb_profile(BT709, 1.0)
Recode = Callable[[Image.Image], Image.Image]


def _difference(photo: DecodedPhoto, image: Image.Image) -> float:
    seen, expected = resize_photo(photo).float(), resize_photo(DecodedPhoto.of(image)).float()
    return float((seen - expected).abs().mean())


def _named(profile: bytes, name: str) -> bytes:
    """The profile with a description, which no reader must believe."""
    text = name.encode("utf-16-be")
    description = b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(text), 28) + text
    (n,) = struct.unpack_from(">I", profile, 128)
    tags = [list(struct.unpack_from(">4sII", profile, 132 + 12 * index)) for index in range(n)]
    for tag in tags:
        tag[1] += 12
    tags.append([b"desc", len(profile) + 12, len(description)])
    table = struct.pack(">I", n + 1) + b"".join(struct.pack(">4sII", *tag) for tag in tags)
    named = profile[:128] + table + profile[132 + 12 * n :] + description
    return struct.pack(">I", len(named)) + named[4:]


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_profile_is_recognised_by_its_content(decoder: Decoder, fmt: str) -> None:
    """obs-studio#4890: a profile of linear light whose name contains sRGB."""
    linear = encode(as_linear(PHOTO), fmt, icc_profile=_named(LINEAR, "Linear sRGB IEC61966-2.1"), quality=100)
    plain = encode(PHOTO, fmt, icc_profile=_named(rgb_profile(BT709), "camera"), quality=100)

    assert _difference(decoder.decode(linear), PHOTO) <= LEVELS
    assert _difference(decoder.decode(plain), PHOTO) <= LEVELS


def test_profile_that_is_srgb_leaves_pixels_unchanged() -> None:
    pixels = np.asarray(PHOTO)

    for profile in (SRGB, rgb_profile(BT709), _named(SRGB, "Display P3")):
        assert to_srgb(pixels, profile) is pixels


@pytest.mark.parametrize(("recode", "transfer"), [(as_pq, PQ), (as_hlg, HLG)], ids=["PQ", "HLG"])
@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
def test_bright_coding_is_shown_in_srgb_when_a_box_states_it(
    decoder: Decoder, fmt: str, recode: Recode, transfer: int
) -> None:
    """libvips#3912: transfer 16 or 18 in the nclx box."""
    data = with_code_points(encode(recode(PHOTO), fmt, quality=100, subsampling="4:4:4", chroma=444), 9, transfer)

    assert _difference(decoder.decode(data), PHOTO) <= LEVELS_OF_LOSSY_PQ


@pytest.mark.parametrize(("recode", "transfer"), [(as_pq, PQ), (as_hlg, HLG)], ids=["PQ", "HLG"])
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_bright_coding_is_shown_in_srgb_when_a_profile_states_it(
    decoder: Decoder, fmt: str, recode: Recode, transfer: int
) -> None:
    """libvips#3912, by the cicp tag of ICC profiles."""
    data = encode(
        recode(PHOTO), fmt, icc_profile=code_points_profile(9, transfer), quality=100, subsampling=_full_colour(fmt)
    )

    assert _difference(decoder.decode(data), PHOTO) <= (LEVELS if fmt in ("PNG", "TIFF") else LEVELS_OF_LOSSY_PQ)


def _full_colour(fmt: str) -> object:
    return "4:4:4" if fmt in ("AVIF", "HEIF") else 0


@pytest.mark.parametrize(("recode", "transfer"), [(as_pq, PQ), (as_hlg, HLG)], ids=["PQ", "HLG"])
def test_bright_coding_is_shown_in_srgb_when_a_chunk_states_it(decoder: Decoder, recode: Recode, transfer: int) -> None:
    """PNG Specification (Third Edition), cICP, which goes before a profile."""
    code_points = chunk(b"cICP", bytes([9, transfer, 0, 1]))
    data = with_chunks(encode(recode(PHOTO), "PNG", icc_profile=SRGB), code_points)

    assert _difference(decoder.decode(data), PHOTO) <= LEVELS


def test_ten_bit_heic_keeps_its_colours(decoder: Decoder) -> None:
    """libvips#3912: 10-bit HEIC, in sRGB and as PQ."""
    import pillow_heif

    for image, points in ((PHOTO, (1, 13)), (as_pq(PHOTO), (9, PQ))):
        deep = (np.asarray(image).astype(np.uint16) << 8) | np.asarray(image)
        file = pillow_heif.from_bytes("RGB;16", image.size, deep.tobytes())
        data = with_code_points(_saved(file), *points)
        assert _difference(decoder.decode(data), PHOTO) <= LEVELS


def _saved(file: "object") -> bytes:
    import io

    buffer = io.BytesIO()
    file.save(buffer, quality=100, chroma=444)  # type: ignore[attr-defined]
    return buffer.getvalue()


@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
def test_wide_colours_without_a_profile_are_converted(decoder: Decoder, fmt: str) -> None:
    data = with_code_points(encode(Image.new("RGB", (64, 64), (200, 100, 100)), fmt, quality=100), 12, 13)

    red, green, blue = np.asarray(decoder.decode(data).to_image())[30, 30].astype(int)
    assert abs(red - 215) <= 5
    assert abs(green - 93) <= 5
    assert abs(blue - 97) <= 5


def _dcf(index: str | None, colour_space: int) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = colour_space
    if index:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    return exif.tobytes()


@pytest.mark.parametrize(("index", "colour_space"), [("R03", 0xFFFF), (None, 2)])
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "WEBP", "HEIF", "AVIF"])
def test_adobe_rgb_is_converted_when_only_exif_names_it(
    decoder: Decoder, fmt: str, index: str | None, colour_space: int
) -> None:
    """photoprism#5178: DCF cameras state Adobe RGB by InteropIndex R03."""
    data = encode(in_adobe_rgb(PHOTO), fmt, exif=_dcf(index, colour_space), quality=100)

    assert _difference(decoder.decode(data), PHOTO) <= LEVELS


@pytest.mark.parametrize(("index", "colour_space"), [("R98", 1), ("R03", 1), (None, 0xFFFF)])
def test_other_colour_spaces_of_exif_are_srgb(decoder: Decoder, index: str | None, colour_space: int) -> None:
    photo = decoder.decode(encode(PHOTO, "PNG", exif=_dcf(index, colour_space)))

    assert np.array_equal(np.asarray(photo.to_image()), np.asarray(PHOTO))


def test_profile_goes_before_exif(decoder: Decoder) -> None:
    photo = decoder.decode(encode(PHOTO, "PNG", exif=_dcf("R03", 0xFFFF), icc_profile=SRGB))

    assert np.array_equal(np.asarray(photo.to_image()), np.asarray(PHOTO))


def test_gamma_and_chromaticities_of_a_png_are_applied(decoder: Decoder) -> None:
    linear = with_chunks(encode(as_linear(PHOTO), "PNG"), chunk(b"gAMA", struct.pack(">I", 100_000)))
    usual = with_chunks(encode(PHOTO, "PNG"), chunk(b"gAMA", struct.pack(">I", 45_455)))
    p3 = [int(value * 100_000) for point in (DISPLAY_P3[3], *DISPLAY_P3[:3]) for value in point]
    wide = with_chunks(
        encode(Image.new("RGB", (64, 64), (200, 100, 100)), "PNG"),
        chunk(b"gAMA", struct.pack(">I", 45_455)) + chunk(b"cHRM", struct.pack(">8I", *p3)),
    )

    assert _difference(decoder.decode(linear), PHOTO) <= LEVELS
    assert np.array_equal(np.asarray(decoder.decode(usual).to_image()), np.asarray(PHOTO))
    assert np.abs(np.asarray(decoder.decode(wide).to_image())[30, 30].astype(int) - (215, 93, 97)).max() <= 5


def test_grey_profile_is_applied(decoder: Decoder) -> None:
    grey = as_linear(PHOTO.convert("L").convert("RGB")).convert("L")
    profile = LINEAR[:16] + b"GRAY" + LINEAR[20:]
    profile = profile.replace(b"rTRC", b"kTRC", 1)

    for fmt in ("PNG", "JPEG", "TIFF"):
        photo = decoder.decode(encode(grey, fmt, icc_profile=profile, quality=100))
        assert _difference(photo, PHOTO.convert("L").convert("RGB")) <= LEVELS


def test_code_points_of_broken_profiles_are_none() -> None:
    whole = code_points_profile(9, PQ)
    assert whole is not None

    assert code_points_of(whole) == (9, PQ)
    for length in range(len(whole)):
        assert code_points_of(whole[:length]) is None
    assert code_points_of(whole[:128] + b"\xff" * 400) is None


def test_alpha_that_hides_the_whole_photo_is_ignored(decoder: Decoder) -> None:
    """libvips#1416 and others: 32-bit files whose writer left the fourth byte 0."""
    hidden = PHOTO.copy()
    hidden.putalpha(0)
    half = PHOTO.copy()
    half.putalpha(Image.linear_gradient("L").resize(PHOTO.size))
    white = Image.alpha_composite(Image.new("RGBA", PHOTO.size, "white"), half).convert("RGB")

    for fmt in ("PNG", "TIFF"):
        assert np.array_equal(decoder.decode(encode(hidden, fmt)).pixels, np.asarray(PHOTO))
        assert np.array_equal(decoder.decode(encode(half, fmt)).pixels, np.asarray(white))


def test_huge_or_damaged_profile_in_a_tiff_is_ignored(decoder: Decoder) -> None:
    pixels = np.asarray(PHOTO)

    for profile in (b"x" * 5_000_000, zlib.compress(SRGB)):
        data = tiff(Page(pixels, {34675: profile}))
        if len(data) > 1_000_000:
            assert code_of(decoder, data) is ErrorCode.TOO_LARGE
        else:
            assert np.array_equal(np.asarray(decoder.decode(data).to_image()), pixels)
