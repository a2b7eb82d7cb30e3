"""Decodes photos to RGB: simple JPEG and PNG files in this process, all other files and retries in a decoder process.

A decoder that crashes or hangs fails one photo only: docs/decisions/0014-decode-in-separate-processes.md
"""

from types import TracebackType
from typing import Self

import structlog

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decoder_pool import IsolatedDecoders
from triage.imaging.formats import MediaType, sniff
from triage.imaging.limits import ImageLimits
from triage.imaging.memory import recycled_pixels
from triage.imaging.photo import DecodedPhoto
from triage.imaging.raster import decode_raster
from triage.imaging.structure import is_simple

log = structlog.get_logger(__name__)


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
            photo = self._isolated.decode(data)
            for note in photo.notes:
                log.info("metadata.ignored", kind=note)
            return photo
        return decode_raster(data, media_type, self._limits, recycled_pixels)


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
            ErrorCode.UNKNOWN_FORMAT, "unknown image format: send the photo as JPEG, PNG, HEIC or a DICOM file"
        )
    return media_type
