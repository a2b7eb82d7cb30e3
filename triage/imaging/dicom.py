"""Decodes DICOM images: VL Photographic, Secondary Capture and any other colour or grey image.

Sources: DICOM PS3.3 C.7.6.3 (Image Pixel), C.11.1 (Modality LUT), C.11.2 (VOI LUT), PS3.5 (transfer syntaxes).
Overlays are ignored.
"""

import io
import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import JPEG2000, UID, JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.faults import corrupt, truncated, unsupported_variant
from triage.imaging.formats import MediaType
from triage.imaging.limits import MOST_BYTES, ImageLimits, check_size, memory_for
from triage.imaging.photo import DecodedPhoto

# Validation messages of pydicom quote values of the data set, which must not reach a log.
config.settings.reading_validation_mode = config.IGNORE

_READ_BY_PILLOW: Final = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEG2000Lossless, JPEG2000)
_UNSUPPORTED: Final = ("unsupported", "not available", "not supported", "conversion from")
_PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def decode_dicom(data: bytes, limits: ImageLimits) -> DecodedPhoto:
    """Decodes one frame of a DICOM file: the middle one of a multi-frame file.

    Args:
        data: a file in the DICOM File Format, with its preamble.
        limits: checked on Rows, Columns and NumberOfFrames before pixels are decoded.

    Returns:
        Colour as RGB for every supported PhotometricInterpretation; grey after the modality and VOI
        transformations, MONOCHROME1 inverted. More than 8 bits are scaled to 8.

    Raises:
        AttachmentError: the file cannot be assessed; `code` gives the reason.
    """
    try:
        with warnings.catch_warnings(record=True, action="always") as raised:
            dataset = dcmread(io.BytesIO(data))
        if not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
            if any("end of file" in str(warning.message).lower() for warning in raised):
                raise truncated()
            raise AttachmentError(ErrorCode.NO_PIXELS, "the DICOM file contains no image: send the photo itself")
        n_frames = max(1, int(dataset.get("NumberOfFrames") or 1))
        width, height = int(dataset.Columns), int(dataset.Rows)
        check_size(width, height, n_frames, limits)
        frame = n_frames // 2
        with memory_for(width * height * MOST_BYTES):
            pixels = _to_rgb(*_decode_frame(dataset, frame), dataset)
    except (AttachmentError, MemoryError):
        raise
    except InvalidDicomError as error:
        raise AttachmentError(ErrorCode.CORRUPT, "the DICOM header is damaged: send the photo again") from error
    except Exception as error:  # pydicom raises many types on damaged data sets
        if "less than expected" in str(error):
            raise truncated() from error
        raise _damaged(error) from error
    profile = dataset.get("ICCProfile") if pixels.ndim == 3 else None
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return DecodedPhoto(
        pixels,
        MediaType.DICOM,
        profile=profile if isinstance(profile, bytes) else None,
        n_frames=n_frames,
        frame=frame,
    )


def _decode_frame(dataset: Dataset, frame: int) -> tuple[NDArray[np.generic], str]:
    """Returns the frame, (H, W) or (H, W, 3), and its PhotometricInterpretation."""
    decoder = _decoder(dataset)
    pixels, facts = decoder.as_array(dataset, index=frame, raw=True, decoding_plugin=_plugin(dataset))
    return pixels, str(facts["photometric_interpretation"])


def _decoder(dataset: Dataset) -> Decoder:
    syntax = _transfer_syntax(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    is_12_bit_jpeg = syntax == JPEGExtended12Bit and int(dataset.get("BitsStored") or 8) > 8
    if decoder is None or not decoder.is_available or is_12_bit_jpeg:
        raise AttachmentError(
            ErrorCode.UNSUPPORTED_TRANSFER_SYNTAX,
            "unsupported DICOM transfer syntax: export the photo as JPEG, JPEG 2000 or uncompressed",
        )
    return decoder


def _plugin(dataset: Dataset) -> str:
    """Prefers Pillow, since GDCM aborts on damaged data, except for deep colour, which Pillow reduces to 8 bits."""
    is_deep_colour = int(dataset.SamplesPerPixel) > 1 and int(dataset.BitsStored) > 8
    return "pillow" if _transfer_syntax(dataset) in _READ_BY_PILLOW and not is_deep_colour else ""


def _transfer_syntax(dataset: Dataset) -> UID:
    return UID(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID") or "")


def _to_rgb(pixels: NDArray[Any], photometric: str, dataset: Dataset) -> NDArray[np.uint8]:
    """Returns (H, W, 3), or (H, W) for grey images."""
    if photometric == "PALETTE COLOR":
        colours = apply_color_lut(pixels, dataset)
        return _top_8_bits(colours, 8 * colours.dtype.itemsize)
    if pixels.ndim == 3:
        colours = _top_8_bits(pixels, int(dataset.BitsStored))
        if photometric.startswith("YBR_FULL"):  # PS3.3 C.7.6.3.1.2; Pillow's YCbCr is the same
            return np.array(Image.frombuffer("YCbCr", colours.shape[1::-1], colours.tobytes()).convert("RGB"))
        return colours
    grey = _grey(pixels, dataset)
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _top_8_bits(pixels: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    return (pixels >> max(0, bits - 8) << max(0, 8 - bits)).astype(np.uint8)


def _grey(pixels: NDArray[np.generic], dataset: Dataset) -> NDArray[np.uint8]:
    """Applies the modality and VOI LUTs. Plain 8-bit grey keeps its levels, other depths are stretched to 0..255."""
    shown = np.nan_to_num(apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float32))
    if pixels.dtype == np.uint8 and int(dataset.BitsStored) == 8 and not _is_rescaled(dataset):
        return shown.clip(0, 255).astype(np.uint8)
    low, high = float(shown.min()), float(shown.max())
    return ((shown - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)


def _is_rescaled(dataset: Dataset) -> bool:
    """Whether a rescale or a modality LUT maps the levels to other units."""
    rescale = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    return rescale != (1, 0) or "ModalityLUTSequence" in dataset


def _damaged(error: Exception) -> AttachmentError:
    """Maps a decoder's exception to an error for the sender. The exception's text is never passed on."""
    text = str(error).lower()
    if "truncated" in text or "premature" in text or "unexpected end" in text or isinstance(error, EOFError):
        return truncated()
    if isinstance(error, NotImplementedError) or any(word in text for word in _UNSUPPORTED):
        return unsupported_variant()
    return corrupt()
