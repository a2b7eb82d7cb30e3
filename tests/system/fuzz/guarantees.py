"""Guarantees of a decoder for arbitrary bytes."""

import hashlib

import numpy as np

from triage.errors import AttachmentError, ErrorCode, TransientError
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.model.patches import resize_photo

CONTAINED = frozenset({ErrorCode.DECODER_CRASHED, ErrorCode.DECODING_TIMED_OUT})
"""Errors that report the loss of a decoder process only."""


class ViolationError(Exception):
    """A violated guarantee, in one line."""


def outcome_of(decoder: Decoder, limits: ImageLimits, data: bytes) -> tuple[str, str]:
    """Decodes a photo and prepares it for the network.

    Returns:
        `decoded` or the error's code, and a digest of what a caller can see.

    Raises:
        ViolationError: the decoder violated a guarantee.
    """
    try:
        photo = decoder.decode(data)
        height, width, channels = photo.pixels.shape
        if channels != 3 or photo.pixels.dtype != np.uint8 or width * height > limits.max_pixels:
            raise ViolationError(f"a photo of {photo.pixels.shape}")
        small = resize_photo(photo)
        measure_findings(photo.upright, small.permute(1, 2, 0).numpy())
    except (AttachmentError, TransientError) as error:
        text = str(error)
        if "\n" in text or not text.isascii() or len(text) > 200:
            raise ViolationError("an error of one plain line") from error
        return error.code, text
    except ViolationError:
        raise
    except BaseException as error:
        raise ViolationError(f"an error with a code, not {type(error).__name__}") from error
    return "decoded", hashlib.sha256(photo.pixels.tobytes()).hexdigest()
