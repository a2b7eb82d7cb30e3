"""Bytes of a photo to RGB. Plain JPEG and PNG are decoded here, everything else in a process of its own.

A decoder that crashes or hangs takes only its own photo with it: docs/decisions/0014-decoders-have-their-own-process.md
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
from triage.imaging.structure import is_plain


class Decoder:
    """Decodes photos of every format. Any number of threads may use it at once."""

    def __init__(self, limits: ImageLimits | None = None, *, processes: int = 1) -> None:
        """
        Args:
            limits: checked on the size and the header, before pixels are decoded.
            processes: how many photos that are neither JPEG nor PNG are decoded at once. A process is started when
                it is first needed.
        """
        self._limits = limits or ImageLimits()
        self._isolated = IsolatedDecoders(self._limits, processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        self._isolated.close()

    def decode(self, data: bytes) -> DecodedPhoto:
        """Decodes one photo, whatever its name says: its primary picture, or the middle frame of a DICOM file.

        Raises:
            AttachmentError: the bytes cannot be assessed; `code` says why.
            TransientError: the decoder crashed or took too long. No other photo was in its process.
        """
        media_type = recognise(data, self._limits)
        if not is_plain(data, media_type):
            return self._isolated.decode(data)
        if media_type is MediaType.JPEG:
            with open_raster(data, media_type, self._limits) as image:
                return _decode_jpeg(data, image)
        return decode_raster(data, media_type, self._limits)


def recognise(data: bytes, limits: ImageLimits) -> MediaType:
    """
    Raises:
        AttachmentError: there are no bytes, too many, or those of no photo.
    """
    if not data:
        raise AttachmentError(ErrorCode.EMPTY, "the file is empty: send it again")
    if len(data) > limits.max_bytes:
        raise AttachmentError(
            ErrorCode.TOO_LARGE,
            f"the file has {len(data):,} bytes, {limits.max_bytes:,} are allowed: send a smaller one",
        )
    media_type = sniff(data)
    if media_type is None:
        raise AttachmentError(
            ErrorCode.UNKNOWN_FORMAT, "the bytes are no photo of a known format: send it as JPEG, PNG, HEIC or DICOM"
        )
    return media_type


def _decode_jpeg(data: bytes, header: Image.Image) -> DecodedPhoto:
    """By libjpeg-turbo like Pillow's, but straight into an array: it costs two thirds of the time."""
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
    """(H, W, 3). What a decoder can mend, such as bytes too many before a marker, is no defect; missing data is.

    It decodes into zeros, of the size that was checked: what it leaves out shows nothing of another photo.
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
