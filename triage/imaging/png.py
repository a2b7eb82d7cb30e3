"""Takes from a PNG file what decoding needs. Damaged or huge metadata is left out, as browsers do.

Source: PNG Specification (Third Edition): 5.3 (chunk layout), 11.2 and 11.3 (chunks), 4.3 (which colour chunk counts).
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from triage.imaging.colour import MAX_PROFILE_BYTES
from triage.imaging.faults import corrupt, truncated
from triage.imaging.profiles import BT709, Chromaticities, code_points_profile, rgb_profile

_SIGNATURE_BYTES: Final = 8
_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_COLOUR: Final = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_TEXT: Final = frozenset({b"tEXt", b"zTXt"})
_METADATA: Final = _COLOUR | {b"eXIf"}
_EXIF_AS_TEXT: Final = re.compile(rb"Raw profile type (exif|APP1)\0")
_MAX_EXIF_BYTES: Final = 2**20
_SRGB_GAMMA: Final = (0.43, 0.48)
"""Gamma values that writers state for sRGB (1/2.2 is exact); its chunk then changes nothing."""


@dataclass(frozen=True, slots=True)
class PngParts:
    """
    Attributes:
        picture: a PNG file with nothing but the picture.
        profile: ICC profile, None for sRGB.
        n_pictures: an APNG has several.
    """

    width: int
    height: int
    picture: bytes
    exif: bytes | None
    profile: bytes | None
    n_pictures: int


def read_parts(data: bytes) -> PngParts:
    """
    Raises:
        AttachmentError: a chunk of the picture is damaged, or the file ends within one.
    """
    kept, metadata = [data[:_SIGNATURE_BYTES]], dict[bytes, bytes]()
    n_animated, has_default = 0, False
    for name, start, end in _chunks(data):
        if name == b"fcTL":
            n_animated += 1
        if name in _TEXT and _EXIF_AS_TEXT.match(data, start + 8):
            metadata.setdefault(b"text", name + data[start + 8 : end - 4])
        if name not in _PICTURE | _METADATA or name in metadata:
            continue
        is_sound = zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        if name in _PICTURE and (is_sound or name == b"tRNS"):
            if is_sound:
                kept.append(data[start:end])
            has_default |= name == b"IDAT" and not n_animated
        elif name in _PICTURE:
            raise corrupt("header" if name == b"IHDR" else "data")
        elif is_sound:
            metadata[name] = data[start + 8 : end - 4]
    if len(kept) < 2 or kept[1][4:8] != b"IHDR" or len(kept[1]) != 25:
        raise corrupt("header")
    width, height = struct.unpack_from(">II", kept[1], 8)
    exif = metadata.get(b"eXIf") or _exif_of_text(metadata.get(b"text", b""))
    n_pictures = max(1, n_animated + (has_default and n_animated > 0))
    return PngParts(width, height, b"".join(kept), exif, _profile(metadata), n_pictures)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields the name, start and end of each chunk up to IEND.

    Raises:
        AttachmentError: the file ends within a chunk of the picture.
    """
    position = _SIGNATURE_BYTES
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        name, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data):
            raise truncated()
        yield name, position, end
        if name == b"IEND":
            return
        position = end


def _profile(metadata: dict[bytes, bytes]) -> bytes | None:
    """The colour space as an ICC profile, by the chunk that goes first."""
    if len(code_points := metadata.get(b"cICP", b"")) == 4 and code_points[2] == 0:
        return code_points_profile(code_points[0], code_points[1])
    if (profile := _inflate_profile(metadata.get(b"iCCP", b""))) is not None:
        return profile
    if b"sRGB" in metadata or len(gamma := metadata.get(b"gAMA", b"")) != 4:
        return None
    exponent = int.from_bytes(gamma) / 100_000
    try:
        chromaticities = _chromaticities(metadata.get(b"cHRM", b""))
        is_srgb = _SRGB_GAMMA[0] <= exponent <= _SRGB_GAMMA[1]
        if is_srgb and chromaticities is BT709:
            return None
        return rgb_profile(chromaticities, None if is_srgb else 1 / exponent)
    except (ValueError, ArithmeticError):  # impossible numbers
        return None


def _chromaticities(content: bytes) -> Chromaticities:
    if len(content) != 32:
        return BT709
    white, red, green, blue = ((x / 100_000, y / 100_000) for x, y in struct.iter_unpack(">II", content))
    return red, green, blue, white


def _inflate_profile(content: bytes) -> bytes | None:
    """Inflates an iCCP chunk as far as the largest profile in use."""
    _, _, packed = content[:81].partition(b"\0")
    if not packed or packed[0]:  # 0 is deflate
        return None
    try:
        start = content.index(b"\0") + 2
        profile = zlib.decompressobj().decompress(content[start:], MAX_PROFILE_BYTES + 1)
    except (zlib.error, ValueError):
        return None
    return profile if 128 < len(profile) <= MAX_PROFILE_BYTES else None


def _exif_of_text(content: bytes) -> bytes | None:
    """The Exif that ImageMagick writes as text: a keyword, the kind, the number of bytes, and hexadecimal digits."""
    name, (_, _, text) = content[:4], content[4:].partition(b"\0")
    try:
        if name == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_EXIF_BYTES)
        return bytes.fromhex("".join(text[:_MAX_EXIF_BYTES].decode("ascii").split()[2:])) or None
    except (zlib.error, ValueError):
        return None
