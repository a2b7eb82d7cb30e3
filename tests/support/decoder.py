from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from triage.errors import AttachmentError, ErrorCode
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6, min_side=32, max_side=2000, max_frames=3)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    """A decoder with limits that a small file can exceed."""
    with Decoder(LIMITS) as decoder:
        yield decoder


@pytest.fixture
def quarters() -> Image.Image:
    """Red, green, blue and white quarters, 64 wide and 48 high."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = (250, 10, 10)
    pixels[:24, 32:] = (10, 250, 10)
    pixels[24:, :32] = (10, 10, 250)
    pixels[24:, 32:] = (250, 250, 250)
    return Image.fromarray(pixels)


def code_of(decoder: Decoder, data: bytes) -> ErrorCode:
    """Returns the error code of refused bytes; the message must be one line."""
    with pytest.raises(AttachmentError) as raised:
        decoder.decode(data)
    assert "\n" not in str(raised.value)
    return raised.value.code
