"""Reads the few metadata that change how a photo looks. Broken metadata reads as none and never costs a photo."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from PIL import ExifTags, Image

from triage.imaging.profiles import ADOBE_RGB

UPRIGHT: Final = 1
"""Exif Orientation of pixels that are stored upright."""

_ADOBE_RGB_BY_COLOUR_SPACE: Final = 2  # not in Exif, but some cameras write it
_UNCALIBRATED: Final = 0xFFFF
_NUMBER_OF_IMAGES, _MP_ENTRIES, _MP_ENTRY_BYTES = 0xB001, 0xB002, 16


@dataclass(frozen=True, slots=True)
class ExifFacts:
    """
    Attributes:
        orientation: 1 to 8.
        profile: ICC profile of the colour space that the Exif names, None for sRGB. An embedded profile goes first.
    """

    orientation: int = UPRIGHT
    profile: bytes | None = None


def exif_facts(exif: bytes | None) -> ExifFacts:
    """Reads the Orientation and the colour space. Source: Exif 2.32; DCF 2.0, 3.2.1 (R03 is Adobe RGB).

    The orientation that XMP may state is ignored: docs/photos.md gives the reason.

    Args:
        exif: with or without the leading identifier of a JPEG segment.
    """
    if not exif:
        return ExifFacts()
    tags = Image.Exif()
    _read(lambda: tags.load(exif))
    orientation = _read(lambda: tags.get(ExifTags.Base.Orientation))
    if not (isinstance(orientation, int) and UPRIGHT <= orientation <= 8):
        orientation = UPRIGHT
    return ExifFacts(orientation, ADOBE_RGB if _is_adobe_rgb(tags) else None)


def _is_adobe_rgb(tags: Image.Exif) -> bool:
    colour_space = _read(lambda: tags.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace))
    if colour_space == _ADOBE_RGB_BY_COLOUR_SPACE:
        return True
    index = _read(lambda: tags.get_ifd(ExifTags.IFD.Interop).get(1))
    return colour_space in (None, _UNCALIBRATED) and index in ("R03", b"R03", b"R03\0")


def n_pictures_of_mpf(content: bytes) -> int:
    """The number of pictures in a Multi-Picture Format file, from its index. Source: CIPA DC-007, 5.2.3."""
    tags = Image.Exif()
    _read(lambda: tags.load(b"Exif\0\0" + content))
    n, entries = _read(lambda: tags.get(_NUMBER_OF_IMAGES)), _read(lambda: tags.get(_MP_ENTRIES))
    if isinstance(n, int) and isinstance(entries, bytes) and 0 < n == len(entries) // _MP_ENTRY_BYTES:
        return n
    return 1


def _read(read: Callable[[], Any]) -> Any:
    """Returns what Pillow reads, or None if it fails: broken metadata raises errors of any type."""
    try:
        return read()
    except MemoryError:
        raise
    except Exception:
        return None
