import struct
import zlib

import numpy as np
import pytest
from PIL import ImageCms

from tests.support.decoder import LIMITS, code_of
from tests.support.photo_files import encode, with_orientation
from tests.support.rare_files import chunk, with_chunks
from triage.errors import ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.samples.drawing import draw_skin_photo

PHOTO = draw_skin_photo(6, size=(150, 200))
PNG = encode(PHOTO, "PNG")
MEGABYTES = 30 * 2**20
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _raw_profile(exif: bytes) -> bytes:
    return b"Raw profile type exif\0\nexif\n" + b"%8d\n" % len(exif) + exif.hex().encode() + b"\n"


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"eXIf", b"no Exif" * 99),
        chunk(b"eXIf", with_orientation(6)[6:], is_sound=False),
        chunk(b"tEXt", _raw_profile(b"x")[:-4] + b"zz\n"),
        chunk(b"zTXt", b"Raw profile type exif\0\0damaged"),
        chunk(b"tEXt", b"key\0" + b"x" * 3_000_000),
        chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(MEGABYTES))),
        chunk(b"iTXt", b"key\0\1\0\0\0" + zlib.compress(bytes(MEGABYTES))),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(MEGABYTES))),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(SRGB + bytes(2 * 2**20))),
        chunk(b"iCCP", b"name\0\0damaged"),
        chunk(b"iCCP", b"name\0\0" + zlib.compress(SRGB), is_sound=False),
        chunk(b"tIME", b"1") + chunk(b"pHYs", b"") + chunk(b"sRGB", b"") + chunk(b"cICP", b"9"),
        chunk(b"gAMA", bytes(4)) + chunk(b"cHRM", bytes(32)),
        chunk(b"acTL", b"\xff" * 8),
        chunk(b"tRNS", bytes(6), is_sound=False),
        chunk(b"prVt", b"private", is_sound=False),
    ],
    ids=[
        *(
            "exif",
            "exif-checksum",
            "raw-profile",
            "raw-profile-packed",
            "text",
            "zTXt",
            "iTXt",
            "iCCP-bomb",
            "iCCP-big",
        ),
        *("iCCP", "iCCP-checksum", "short", "gamma", "animation", "transparency", "private"),
    ],
)
def test_damaged_or_huge_metadata_does_not_cost_a_photo(chunks: bytes) -> None:
    """Pillow#5528 (garbage), Pillow#2445 and #8363 (over 1 MB), sdnext#1668 (Exif)."""
    with Decoder(ImageLimits(decode_memory_bytes=2**30)) as decoder:
        photo = decoder.decode(with_chunks(PNG, chunks))

    assert np.array_equal(np.asarray(photo.to_image()), np.asarray(PHOTO))
    assert (photo.orientation, photo.n_frames) == (1, 1)


def test_orientation_is_read_from_both_places_of_exif(decoder: Decoder) -> None:
    exif = with_orientation(6)
    packed = b"Raw profile type exif\0\0" + zlib.compress(_raw_profile(exif).partition(b"\0")[2])

    for found in (chunk(b"eXIf", exif[6:]), chunk(b"tEXt", _raw_profile(exif)), chunk(b"zTXt", packed)):
        assert decoder.decode(with_chunks(PNG, found)).orientation == 6


def test_wrong_checksum_of_the_picture_is_corrupt(decoder: Decoder) -> None:
    stored = encode(PHOTO, "PNG", compress_level=0)
    place = stored.index(b"IDAT") + 5000

    assert code_of(decoder, stored[:place] + b"\0\1\2" + stored[place + 3 :]) is ErrorCode.CORRUPT


def test_end_chunk_may_be_missing_and_bytes_may_follow(decoder: Decoder) -> None:
    for data in (PNG[:-12], PNG + b"a trailer" * 99):
        assert np.array_equal(decoder.decode(data).pixels, np.asarray(PHOTO))


def test_limits_hold_when_the_header_is_damaged(decoder: Decoder) -> None:
    header = struct.pack(">IIBBBBB", LIMITS.max_side + 1, 64, 8, 2, 0, 0, 0)

    assert code_of(decoder, PNG[:8] + chunk(b"IHDR", header) + PNG[33:]) is ErrorCode.SIDE_TOO_LONG
    assert code_of(decoder, PNG[:8] + PNG[33:]) is ErrorCode.CORRUPT
