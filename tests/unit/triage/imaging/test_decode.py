import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support.decoder import LIMITS, code_of
from tests.support.photo_files import MAKERS, STORED, encode, stored, with_orientation
from triage.errors import ErrorCode
from triage.imaging.colour import to_pixels
from triage.imaging.decode import Decoder
from triage.imaging.formats import MediaType
from triage.imaging.limits import ImageLimits
from triage.imaging.photo import DecodedPhoto
from triage.model.patches import resize_photo
from triage.samples.drawing import draw_skin_photo

MEDIA_TYPES = {
    "jpeg": MediaType.JPEG,
    "png": MediaType.PNG,
    "webp": MediaType.WEBP,
    "heic": MediaType.HEIC,
    "avif": MediaType.AVIF,
    "jxl": MediaType.JXL,
    "tiff": MediaType.TIFF,
    "bmp": MediaType.BMP,
    "gif": MediaType.GIF,
    "dicom": MediaType.DICOM,
}


def _difference(photo: DecodedPhoto, upright: Image.Image) -> float:
    """Mean absolute difference of levels, 0..255, as the network sees them."""
    turned, other = resize_photo(photo).float(), resize_photo(DecodedPhoto.of(upright)).float()
    return float((turned - other).abs().mean())


@pytest.mark.parametrize("name", MAKERS)
def test_pixels_agree_for_every_format(decoder: Decoder, name: str) -> None:
    upright = draw_skin_photo(3, size=(300, 400))

    photo = decoder.decode(MAKERS[name](upright))

    assert photo.media_type is MEDIA_TYPES[name.partition("-")[0]]
    assert photo.size == (400, 300)
    assert _difference(photo, upright) < 1.5


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation_is_applied_exactly_once(
    decoder: Decoder, quarters: Image.Image, fmt: str, orientation: int
) -> None:
    data = encode(stored(quarters, orientation), fmt, exif=with_orientation(orientation), quality=95)

    photo = decoder.decode(data)

    assert photo.size == (64, 48)
    difference = np.abs(photo.upright.astype(int) - np.asarray(quarters, int))
    assert difference[4:20, 4:28].max() <= 40  # no lossy format is exact
    assert difference.mean() < 12
    assert np.asarray(photo.to_image()).shape == (48, 64, 3)
    assert _difference(photo, quarters) < 12


def test_first_image_is_decoded_when_a_file_has_several(decoder: Decoder, quarters: Image.Image) -> None:
    other = Image.new("RGB", quarters.size, "black")

    for fmt in ("GIF", "TIFF", "WEBP", "MPO", "PNG", "AVIF"):
        photo = decoder.decode(encode(quarters, fmt, save_all=True, append_images=[other]))
        assert (photo.n_frames, photo.frame) == (2, 0)
        assert _difference(photo, quarters) < 8


def test_primary_image_is_decoded_when_it_is_not_the_first(decoder: Decoder, quarters: Image.Image) -> None:
    other = Image.new("RGB", quarters.size, "black")

    photo = decoder.decode(encode(other, "HEIF", save_all=True, append_images=[quarters], primary_index=1))

    assert (photo.n_frames, photo.frame) == (2, 1)
    assert _difference(photo, quarters) < 8


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_transparent_pixels_are_composited_over_white(decoder: Decoder, fmt: str) -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))

    assert decoder.decode(encode(clear, fmt)).pixels.min() > 250


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "LAB", "I;16", "F"])
def test_every_mode_is_converted_to_rgb(decoder: Decoder, mode: str) -> None:
    image = Image.new("L", (64, 64), 255)
    match mode:
        case "I;16":
            image = Image.fromarray(np.full((64, 64), 65535, np.uint16))
        case "F":
            image = Image.fromarray(np.ones((64, 64), np.float32))
        case "LAB":
            lab = ImageCms.createProfile("LAB")
            image = ImageCms.profileToProfile(
                image.convert("RGB"), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
            )  # type: ignore[assignment]
        case _:
            image = image.convert("RGB").convert(mode)
    photo = decoder.decode(encode(image, "TIFF"))

    assert photo.pixels.shape == (64, 64, 3)
    assert photo.pixels.min() > 245  # white stays white


def test_sixteen_bit_grey_is_scaled(decoder: Decoder) -> None:
    grey = Image.fromarray(np.full((64, 64), 0x8000, np.uint16))

    assert decoder.decode(encode(grey, "PNG")).pixels[5, 5].tolist() == [127, 127, 127]


def _display_p3() -> bytes:
    """A Display P3 profile (matrix and sRGB curve), built here so that no third-party file is committed."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    columns = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2919, 0.6922, 0.0419), b"bXYZ": (0.1572, 0.0666, 0.7841)}
    for tag, values in columns.items():
        entry = srgb.index(tag, 128)
        (offset,) = struct.unpack(">I", srgb[entry + 4 : entry + 8])
        srgb[offset + 8 : offset + 20] = struct.pack(">3i", *(round(value * 65536) for value in values))
    return bytes(srgb).replace("sRGB".encode("utf-16-be"), "DiP3".encode("utf-16-be"))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_display_p3_is_converted_to_srgb(decoder: Decoder, fmt: str) -> None:
    p3 = Image.new("RGB", (64, 64), (200, 100, 100))

    photo = decoder.decode(encode(p3, fmt, icc_profile=_display_p3(), quality=100))

    red, green, blue = np.asarray(photo.to_image())[30, 30].astype(int)
    assert abs(red - 215) <= 5  # the same colour has more red in sRGB, whose red is less pure
    assert abs(green - 93) <= 5
    assert abs(blue - 97) <= 5
    assert resize_photo(photo)[:, 200, 200].tolist() == pytest.approx([red, green, blue], abs=2)


def test_colours_are_unchanged_when_the_profile_is_srgb_or_damaged(decoder: Decoder) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (64, 64), (200, 100, 100))

    for profile in (srgb, b"no profile at all", _display_p3()[:200]):
        photo = decoder.decode(encode(image, "PNG", icc_profile=profile))
        assert resize_photo(photo)[:, 9, 9].tolist() == [200, 100, 100]


def test_empty_file_has_its_own_code(decoder: Decoder) -> None:
    assert code_of(decoder, b"") is ErrorCode.EMPTY


@pytest.mark.parametrize(
    "data", [b"a letter named .jpg", b"\xff\xd8", b"<svg/>", b"%PDF-1.7", b"BM is the beginning of a text", b"\0" * 99]
)
def test_other_bytes_have_unknown_format(decoder: Decoder, data: bytes) -> None:
    assert code_of(decoder, data) is ErrorCode.UNKNOWN_FORMAT


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg-progressive", "jpeg-cmyk", "png", "webp", "heic", "avif", "jxl", "bmp", "dicom"]
)
def test_cut_file_is_truncated_or_corrupt(decoder: Decoder, name: str) -> None:
    data = MAKERS[name](draw_skin_photo(1, size=(200, 200)))

    assert code_of(decoder, data[: len(data) // 2]) in {ErrorCode.TRUNCATED, ErrorCode.CORRUPT}


@pytest.mark.parametrize("name", ["jpeg", "png", "bmp", "dicom"])
def test_cut_file_is_truncated_when_its_format_states_the_length(decoder: Decoder, name: str) -> None:
    data = MAKERS[name](draw_skin_photo(1, size=(200, 200)))

    assert code_of(decoder, data[: len(data) // 2]) is ErrorCode.TRUNCATED


@pytest.mark.parametrize("name", sorted({*MAKERS} - {"bmp"}))
def test_damaged_header_is_corrupt(decoder: Decoder, name: str) -> None:
    data = MAKERS[name](draw_skin_photo(1, size=(100, 100)))
    kept = 132 if name.startswith("dicom") else 12

    assert code_of(decoder, data[:kept] + b"\xaa" * 300) in {
        ErrorCode.CORRUPT,
        ErrorCode.TRUNCATED,
        ErrorCode.NO_PIXELS,
        ErrorCode.UNSUPPORTED_VARIANT,
    }


def test_damaged_data_is_corrupt(decoder: Decoder, quarters: Image.Image) -> None:
    data = bytearray(encode(quarters, "PNG"))
    start = data.index(b"IDAT") + 4
    data[start : start + 4] = b"\xff\xff\xff\xff"

    assert code_of(decoder, bytes(data)) is ErrorCode.CORRUPT


def test_unsupported_variant_has_its_own_code(decoder: Decoder, quarters: Image.Image) -> None:
    data = bytearray(encode(quarters, "TIFF"))
    compression = data.index(struct.pack("<HHI", 259, 3, 1)) + 8
    data[compression : compression + 2] = struct.pack("<H", 34712)  # JPEG 2000, which is never sent as TIFF

    assert code_of(decoder, bytes(data)) in {ErrorCode.UNSUPPORTED_VARIANT, ErrorCode.CORRUPT}


def _huge_png() -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def _huge_gif() -> bytes:
    data = bytearray(encode(Image.new("P", (64, 64)), "GIF"))
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize("data", [_huge_png(), _huge_gif()], ids=["png", "gif"])
def test_huge_photo_is_refused_before_decoding(data: bytes) -> None:
    with Decoder(ImageLimits(decode_memory_bytes=2**30)) as decoder:
        assert code_of(decoder, data) is ErrorCode.TOO_MANY_PIXELS


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF"])
def test_limits_are_inclusive(quarters: Image.Image, fmt: str) -> None:
    data = encode(quarters, fmt)

    def code(**limits: int) -> ErrorCode:
        with Decoder(ImageLimits(**limits)) as decoder:
            return code_of(decoder, data)

    with Decoder(ImageLimits(max_bytes=len(data), max_pixels=64 * 48, min_side=48, max_side=64)) as decoder:
        decoder.decode(data)
    assert code(max_bytes=len(data) - 1) is ErrorCode.TOO_LARGE
    assert code(max_pixels=64 * 48 - 1) is ErrorCode.TOO_MANY_PIXELS
    assert code(min_side=49) is ErrorCode.TOO_SMALL
    assert code(min_side=1, max_side=63) is ErrorCode.SIDE_TOO_LONG


def test_file_is_refused_when_it_has_too_many_images(decoder: Decoder, quarters: Image.Image) -> None:
    shades = [Image.new("RGB", quarters.size, (level, 0, 0)) for level in range(LIMITS.max_frames)]

    assert code_of(decoder, encode(quarters, "GIF", save_all=True, append_images=shades)) is ErrorCode.TOO_MANY_FRAMES


def test_jpeg_goes_to_decoder_process_when_it_has_many_scans() -> None:
    """Each scan costs a pass over the image, which would stall the scoring process."""
    image = draw_skin_photo(1, size=(400, 400))
    data = encode(image, "JPEG", progressive=True)
    table = b"\xff\xc4\0\x14\x10\1" + bytes(16)  # one code of one bit, which ends a block
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(312) + b"\x0f"  # changes none of the 50 x 50 blocks
    bomb = data[:-2] + table + scan * 4000 + data[-2:]

    with Decoder(ImageLimits(decode_seconds=60)) as decoder:
        photo = decoder.decode(bomb)
        assert len(decoder._isolated._idle) == 1
        assert np.array_equal(photo.pixels, decoder.decode(data).pixels)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG"])
def test_photo_is_the_same_when_a_simple_file_is_decoded_apart(quarters: Image.Image, fmt: str) -> None:
    file = io.BytesIO()
    quarters.resize((301, 203)).save(file, fmt)
    with Decoder() as decoder:
        here = decoder.decode(file.getvalue())
        assert decoder._isolated._idle == []
        apart = decoder.decode(file.getvalue(), apart=True)
        assert len(decoder._isolated._idle) == 1

    assert np.array_equal(here.upright, apart.upright)
    assert (here.media_type, here.size) == (apart.media_type, apart.size)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "F"])
@pytest.mark.parametrize("hidden", [False, True])
def test_strips_give_the_pixels_of_the_whole_image(mode: str, hidden: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (37, 29, 4), np.uint8)
    noise[: 37 if hidden else 10, :, 3] = 0  # the upper strips, or the whole picture, are transparent
    photo = Image.fromarray(noise, "RGBA")
    image = (photo if mode in ("LA", "RGBA", "PA") else photo.convert("RGB")).convert("L" if mode == "F" else mode)
    if mode == "F":
        image = Image.fromarray(np.asarray(image) * np.float32(0.02) - 1)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    whole, strips = to_pixels(image), to_pixels(image, strip_pixels=100)

    assert whole[0].shape == (37, 29, 3)
    assert np.array_equal(whole[0], strips[0])
    assert whole[1] == strips[1]
    if mode == "RGBA":
        assert (whole[0][:10] == 255).all() is np.bool_(not hidden)
