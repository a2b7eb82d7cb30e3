"""Decodes photos to RGB: simple JPEG and PNG files in this process, all other files and retries in a decoder process.

A decoder that crashes or hangs fails one photo only: docs/decisions/0014-decode-in-separate-processes.md
"""

from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from simplejpeg import decode_jpeg

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decoder_pool import IsolatedDecoders
from triage.imaging.formats import MediaType, sniff
from triage.imaging.limits import ImageLimits
from triage.imaging.photo import DecodedPhoto
from triage.imaging.raster import damaged, decode_raster, open_raster, orientation_of
from triage.imaging.structure import is_simple


class Decoder:
    """Decodes photos of every format. Thread-safe."""

    def __init__(self, limits: ImageLimits | None = None, *, processes: int = 1) -> None:
        """
        Args:
            limits: checked on the file size and the header before pixels are decoded.
            processes: number of decoder processes. Each starts on first use.
        """
        self._limits = limits or ImageLimits()
        self._isolated = IsolatedDecoders(self._limits, processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops the decoder processes."""
        self._isolated.close()

    def decode(self, data: bytes, *, apart: bool = False) -> DecodedPhoto:
        """Decodes one photo: the primary image, or the middle frame of a DICOM file.

        Args:
            data: the bytes of the file.
            apart: decode even a simple file in a decoder process, with the same result.

        Raises:
            AttachmentError: the photo cannot be assessed; `code` gives the reason.
            TransientError: the decoder process crashed or exceeded its time limit.
        """
        media_type = recognise(data, self._limits)
        if apart or not is_simple(data, media_type):
            return self._isolated.decode(data)
        return decode_simple(data, media_type, self._limits)


def decode_simple(data: bytes, media_type: MediaType, limits: ImageLimits) -> DecodedPhoto:
    """Decodes a file for which `is_simple` is true, in this process.

    Raises:
        AttachmentError: the photo cannot be assessed.
    """
    if media_type is MediaType.JPEG:
        with open_raster(data, media_type, limits) as image:
            return _decode_jpeg(data, image)
    return decode_raster(data, media_type, limits)


def recognise(data: bytes, limits: ImageLimits) -> MediaType:
    """Detects the media type and checks the file size.

    Raises:
        AttachmentError: the file is empty, too large or of an unknown format.
    """
    if not data:
        raise AttachmentError(ErrorCode.EMPTY, "the file is empty: send it again")
    if len(data) > limits.max_bytes:
        raise AttachmentError(
            ErrorCode.TOO_LARGE,
            f"the file has {len(data):,} bytes, the limit is {limits.max_bytes:,}: send a smaller photo",
        )
    media_type = sniff(data)
    if media_type is None:
        raise AttachmentError(
            ErrorCode.UNKNOWN_FORMAT, "unknown image format: send the photo as JPEG, PNG, HEIC or DICOM"
        )
    return media_type


def _decode_jpeg(data: bytes, header: Image.Image) -> DecodedPhoto:
    """Decodes with libjpeg-turbo into an array, in two thirds of the time that Pillow takes."""
    try:
        pixels = _decode_jpeg_pixels(data, header)
        orientation = orientation_of(header)
    except MemoryError:
        raise
    except Exception as error:
        raise damaged(error) from error
    profile = header.info.get("icc_profile") if header.mode == "RGB" else None
    return DecodedPhoto(
        pixels, MediaType.JPEG, orientation, profile or None, n_frames=int(getattr(header, "n_frames", 1))
    )


def _decode_jpeg_pixels(data: bytes, header: Image.Image) -> NDArray[np.uint8]:
    """Returns (H, W, 3). Recoverable defects, such as extra bytes before a marker, are tolerated; missing data is not.

    The buffer is zeroed, so pixels that the decoder skips cannot show another photo.
    """
    pixels = np.zeros((header.height, header.width, 3), np.uint8)
    try:
        decode_jpeg(data, "RGB", buffer=pixels)
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise
        pixels[:] = 0
        decode_jpeg(data, "RGB", buffer=pixels, strict=False)
    return pixels
