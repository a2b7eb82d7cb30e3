"""Detects the media type from the first bytes of a file. File names and declared types are never trusted."""

import re
from enum import StrEnum
from typing import Final

from triage.imaging.dicom_header import start_of_elements


class MediaType(StrEnum):
    """Supported formats. `image/heic` covers every HEIF file coded with HEVC."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    WEBP = "image/webp"
    HEIC = "image/heic"
    AVIF = "image/avif"
    JXL = "image/jxl"
    TIFF = "image/tiff"
    BMP = "image/bmp"
    GIF = "image/gif"
    DICOM = "application/dicom"


_SIGNATURES: Final = (
    # first, because the 128-byte preamble may itself be a TIFF header (PS3.10, 7.1)
    (re.compile(rb".{128}DICM", re.DOTALL), MediaType.DICOM),
    (re.compile(rb"\xff\xd8\xff"), MediaType.JPEG),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), MediaType.PNG),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), MediaType.WEBP),
    (re.compile(rb"(II[*+]\0|MM\0[*+])"), MediaType.TIFF),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), MediaType.JXL),  # bare, in a container
    (re.compile(rb"GIF8[79]a"), MediaType.GIF),
    # "BM" alone could be text, so the size of the DIB header must be a known one
    (re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), MediaType.BMP),
)
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})


def sniff(data: bytes) -> MediaType | None:
    """Returns the media type that the leading bytes identify, or None for an unsupported format."""
    if data[4:8] == b"ftyp":
        return _iso_media(data)
    known = next((media_type for signature, media_type in _SIGNATURES if signature.match(data)), None)
    return MediaType.DICOM if known is None and start_of_elements(data) is not None else known


def _iso_media(data: bytes) -> MediaType | None:
    """Reads the brands of the file type box: size, major brand, version, compatible brands (ISO/IEC 14496-12)."""
    box = data[8 : min(int.from_bytes(data[:4]), 256)]
    brands = {box[:4], *(box[start : start + 4] for start in range(8, len(box), 4))}
    if brands & _AVIF_BRANDS:
        return MediaType.AVIF
    return MediaType.HEIC if brands & _HEIF_BRANDS else None


_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")


def normalise_declared(declared: str | None) -> str | None:
    """Returns a declared media type in lower case without parameters, or None if it is malformed (RFC 6838)."""
    name = (declared or "").partition(";")[0].strip().lower()
    return name if _MEDIA_TYPE.fullmatch(name) else None
