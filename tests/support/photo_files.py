"""The same photo as a file of every format that is read, made here."""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pillow_heif
from PIL import Image
from pydicom import Dataset, config
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    VLPhotographicImageStorage,
    generate_uid,
)

pillow_heif.register_heif_opener()
config.settings.reading_validation_mode = config.IGNORE  # also of values that are set
config.settings.writing_validation_mode = config.IGNORE


def encode(image: Image.Image, fmt: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def with_orientation(orientation: int) -> bytes:
    """Exif that says how the picture is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


# how a camera that is held so stores the upright picture
STORED: Final[Mapping[int, Image.Transpose | None]] = MappingProxyType(
    {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
)


def stored(upright: Image.Image, orientation: int) -> Image.Image:
    """The picture as it is stored under an orientation."""
    transpose = STORED[orientation]
    return upright if transpose is None else upright.transpose(transpose)


def dicom(
    pixels: np.ndarray[Any, Any],
    *,
    photometric: str = "RGB",
    transfer_syntax: UID = ExplicitVRLittleEndian,
    bits_stored: int | None = None,
    n_frames: int = 1,
    encapsulated: list[bytes] | None = None,
    **elements: object,
) -> bytes:
    """A DICOM file. `pixels` is (H, W), (H, W, 3) or, of several frames, (N, H, W[, 3]); `elements` go by keyword."""
    shape = pixels.shape[1:] if n_frames > 1 else pixels.shape
    dataset = Dataset()
    dataset.file_meta = Dataset()  # type: ignore[assignment]
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    colour = len(shape) == 3
    dataset.SOPClassUID = VLPhotographicImageStorage if colour else SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["a photo"])  # the same file each time
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if n_frames > 1:
        dataset.NumberOfFrames = n_frames
    if encapsulated is not None:
        dataset.PixelData = encapsulate(encapsulated)
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
        dataset["PixelData"].VR = "OW"
        if transfer_syntax == RLELossless:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.compress(RLELossless, generate_instance_uid=False)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _jxl(image: Image.Image, **options: Any) -> bytes:
    import pillow_jxl  # noqa: F401  # registers the format

    return encode(image, "JXL", **options)


MAKERS: Final[Mapping[str, Callable[[Image.Image], bytes]]] = MappingProxyType(
    {
        "jpeg": lambda image: encode(image, "JPEG", quality=95),
        "jpeg-progressive": lambda image: encode(image, "JPEG", quality=95, progressive=True),
        "jpeg-cmyk": lambda image: encode(image.convert("CMYK"), "JPEG", quality=95),
        "jpeg-mpo": lambda image: encode(image, "MPO", quality=95, save_all=True, append_images=[image.rotate(180)]),
        "png": lambda image: encode(image, "PNG"),
        "png-palette": lambda image: encode(image.quantize(256, dither=Image.Dither.NONE), "PNG"),
        "png-alpha": lambda image: encode(image.convert("RGBA"), "PNG"),
        "webp": lambda image: encode(image, "WEBP", quality=95),
        "webp-lossless": lambda image: encode(image, "WEBP", lossless=True),
        "heic": lambda image: encode(image, "HEIF", quality=90),
        "avif": lambda image: encode(image, "AVIF", quality=95),
        "jxl": lambda image: _jxl(image, quality=95),
        "jxl-lossless": lambda image: _jxl(image, lossless=True, use_container=True),
        "tiff": lambda image: encode(image, "TIFF"),
        "tiff-lzw": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": lambda image: encode(image, "TIFF", compression="jpeg", quality=95),
        "bmp": lambda image: encode(image, "BMP"),
        "gif": lambda image: encode(image, "GIF", save_all=True, append_images=[image.rotate(180)]),
        "dicom": lambda image: dicom(np.asarray(image)),
        "dicom-rle": lambda image: dicom(np.asarray(image), transfer_syntax=RLELossless),
        "dicom-jpeg": lambda image: dicom(
            np.asarray(image),
            photometric="YBR_FULL_422",
            transfer_syntax=JPEGBaseline8Bit,
            encapsulated=[encode(image, "JPEG", quality=95)],
        ),
        "dicom-jpeg2000": lambda image: dicom(
            np.asarray(image),
            photometric="YBR_RCT",
            transfer_syntax=JPEG2000Lossless,
            encapsulated=[encode(image, "JPEG2000", irreversible=False, mct=1, no_jp2=True)],
        ),
    }
)
"""A maker for each kind of file; the photo goes in upright, RGB."""
