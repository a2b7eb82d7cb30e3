"""Large photos in small files, of the formats that a decoder process reads."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from tests.support.photo_files import dicom, encode


def _heic(image: Image.Image) -> bytes:
    return encode(image, "HEIF", enc_params={"preset": "ultrafast"})


def _jxl(image: Image.Image, **options: object) -> bytes:
    import pillow_jxl  # noqa: F401  # registers the format

    return encode(image, "JXL", effort=1, **options)


def _jpeg_2000(image: Image.Image) -> bytes:
    stream = encode(image, "JPEG2000", no_jp2=True)
    rows = np.broadcast_to(np.zeros(3, np.uint8), (image.height, image.width, 3))
    return dicom(rows, photometric="YBR_RCT", transfer_syntax=JPEG2000Lossless, encapsulated=[stream])


LARGE: Final[Mapping[str, Callable[[Image.Image], bytes]]] = MappingProxyType(
    {
        "webp": lambda image: encode(image, "WEBP", method=0),
        "webp-lossless": lambda image: encode(image, "WEBP", method=0, quality=0, lossless=True),
        "heic": _heic,
        "avif": lambda image: encode(image, "AVIF", speed=10),
        "jxl": lambda image: _jxl(image, quality=80),
        "jxl-lossless": lambda image: _jxl(image, lossless=True),
        "tiff-deflate": lambda image: encode(image, "TIFF", compression="tiff_adobe_deflate"),
        "dicom-jpeg-2000": _jpeg_2000,
    }
)
