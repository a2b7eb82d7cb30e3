"""Photos made in memory."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    """Makes a JPEG of noise; each seed gives other bytes."""

    def make(seed: int = 0, width: int = 96, height: int = 96) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        return file.getvalue()

    return make
