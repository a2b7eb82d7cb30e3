"""What a data set says of its pixels, with what writers omit or misspell put right.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel).
"""

from dataclasses import dataclass
from typing import Final

from pydicom import Dataset
from pydicom.uid import UID

from triage.imaging.dicom.elements import integer, transfer_syntax, word
from triage.imaging.faults import corrupt, unsupported_variant

PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PALETTE: Final = "PALETTE COLOR"
RGB: Final = "RGB"
_COLOURS: Final = (RGB, "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT")
_READ: Final = {name.replace("_", "").replace(" ", ""): name for name in (*_COLOURS, PALETTE, "MONOCHROME1")}
_OTHER_COLOURS: Final = frozenset({"ARGB", "CMYK", "HSV", "XYB", "YBRPARTIAL420"})
_WORDS: Final = (1, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """
    Attributes:
        keyword: of the element with the pixels, one of PIXEL_KEYWORDS.
        syntax: the transfer syntax.
        n_frames: as stated, at least 1.
        n_samples: per pixel, 1 or 3.
        photometric: PhotometricInterpretation as the standard spells it; MONOCHROME2 or RGB if it is not known.
        bits_allocated: 1, 8, 16, 32 or 64.
        bits_stored: 1 to bits_allocated.
        high_bit: bits_stored - 1 to bits_allocated - 1.
        is_planar: native pixels are stored by colour.
    """

    keyword: str
    syntax: UID
    width: int
    height: int
    n_frames: int
    n_samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    is_planar: bool

    @property
    def is_float(self) -> bool:
        return self.keyword != "PixelData"

    @property
    def is_subsampled(self) -> bool:
        """Whether native pixels share their chroma in pairs."""
        return self.photometric.endswith("_422") and self.n_samples == 3


def describe(dataset: Dataset) -> PixelDescription | None:
    """Returns None if the data set has no pixels.

    Raises:
        AttachmentError: the picture has no size, or is of a kind that is not read.
    """
    keyword = next((keyword for keyword in PIXEL_KEYWORDS if keyword in dataset), None)
    if keyword is None:
        return None
    width, height = integer(dataset, "Columns", 0), integer(dataset, "Rows", 0)
    if width <= 0 or height <= 0:
        raise corrupt("header")
    stated = word(dataset, "PhotometricInterpretation")
    n_samples = integer(dataset, "SamplesPerPixel", 3 if _READ.get(stated) in _COLOURS else 1)
    allocated = integer(dataset, "BitsAllocated", 0) or (8 if integer(dataset, "BitsStored", 8) <= 8 else 16)
    if n_samples not in (1, 3) or stated in _OTHER_COLOURS or (allocated not in _WORDS and keyword == "PixelData"):
        raise unsupported_variant()
    n_frames = max(1, integer(dataset, "NumberOfFrames", 1))
    if n_samples == 1 and _READ.get(stated) in _COLOURS:
        n_bytes = len(dataset.get_item(keyword, keep_deferred=True).value or b"")
        n_samples = 3 if n_bytes >= 3 * width * height * n_frames * allocated // 8 else 1
    stored = integer(dataset, "BitsStored", 0)
    stored = stored if 0 < stored <= allocated else allocated
    high_bit = integer(dataset, "HighBit", stored - 1)
    return PixelDescription(
        keyword=keyword,
        syntax=transfer_syntax(dataset),
        width=width,
        height=height,
        n_frames=n_frames,
        n_samples=n_samples,
        photometric=_photometric(stated, n_samples),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=high_bit if stored - 1 <= high_bit < allocated else stored - 1,
        is_signed=integer(dataset, "PixelRepresentation", 0) == 1,
        is_planar=integer(dataset, "PlanarConfiguration", 0) == 1,
    )


def _photometric(stated: str, n_samples: int) -> str:
    known = _READ.get(stated, "")
    if n_samples == 3:
        return known if known in _COLOURS else RGB
    return known if known and known not in _COLOURS else "MONOCHROME2"
