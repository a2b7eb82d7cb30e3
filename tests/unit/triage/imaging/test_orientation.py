import struct

import numpy as np
import pytest
from PIL import Image

from tests.support.photo_files import encode, with_orientation
from tests.support.rare_files import chunk
from triage.imaging.decode import Decoder
from triage.imaging.metadata import UPRIGHT, exif_facts

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="1"/></rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
def test_orientation_in_xmp_is_ignored(decoder: Decoder, quarters: Image.Image, fmt: str) -> None:
    """sharp#4585: AVIF and HEIC follow irot and imir alone, the other formats Exif."""
    data = encode(quarters, fmt, xmp=XMP, quality=95)
    turned = data.replace(b'Orientation="1"', b'Orientation="6"')
    if fmt == "PNG":
        turned = data  # its text is packed; the decoder reads no text at all

    photo = decoder.decode(turned)

    assert photo.size == quarters.size
    assert np.abs(photo.upright.astype(int) - np.asarray(quarters))[4:20, 4:28].max() <= 40


@pytest.mark.parametrize("fmt", ["HEIF", "AVIF"])
def test_orientation_in_exif_is_ignored_when_the_format_turns_the_picture(
    decoder: Decoder, quarters: Image.Image, fmt: str
) -> None:
    """MIAF (ISO/IEC 23000-22), 7.3.8: only irot and imir turn the picture."""
    exif = Image.Exif()
    exif[0x0107] = 1  # a SHORT that encoders keep; 0x0112 would become irot and imir
    data = encode(quarters, fmt, exif=exif.tobytes(), quality=95)
    entry = struct.pack(">HHIH", 0x0107, 3, 1, 1)
    assert entry in data

    assert decoder.decode(data.replace(entry, struct.pack(">HHIH", 0x0112, 3, 1, 6))).size == quarters.size


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"\xff" * 300,
        b"garbage" * 40,
        b"Exif\0\0" + b"\xff" * 99,
        b"Exif\0\0II*\0\x08\0\0\0" + b"\xff" * 300,
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 200,
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        with_orientation(9),
        with_orientation(0),
    ],
)
def test_damaged_exif_reads_as_none(exif: bytes) -> None:
    """Pillow#5528, sdnext#1668."""
    facts = exif_facts(exif)

    assert (facts.orientation, facts.profile) == (UPRIGHT, None)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF", "TIFF"])
@pytest.mark.parametrize("garbage", [b"\xff" * 200, b"II*\0\x08\0\0\0" + b"\xff" * 200, b"MM\0*" + b"\x7f" * 200])
def test_damaged_exif_does_not_cost_a_photo(decoder: Decoder, quarters: Image.Image, fmt: str, garbage: bytes) -> None:
    """Pillow#5528 (PNG), sdnext#1668 (WebP), and the same in every container."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"x" * 400  # UserComment
    data = encode(quarters, fmt, exif=exif.tobytes(), quality=95)
    place = data.index(b"x" * 400) if fmt == "TIFF" else data.index(b"MM\0*")
    damaged = data[:place] + garbage + data[place + len(garbage) :]
    if fmt == "PNG":
        start = damaged.index(b"eXIf")
        damaged = _with_sound_checksum(damaged, start)

    photo = decoder.decode(damaged)

    assert photo.orientation == UPRIGHT
    assert np.array_equal(photo.pixels, decoder.decode(data).pixels)


def _with_sound_checksum(data: bytes, start: int) -> bytes:
    (length,) = struct.unpack_from(">I", data, start - 4)
    content = data[start + 4 : start + 4 + length]
    return data[: start - 4] + chunk(b"eXIf", content) + data[start + 8 + length :]
