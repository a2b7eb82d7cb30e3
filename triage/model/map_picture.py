"""A quality map as a picture: the photo in grey under a colour for each part.

Blue parts are better than the threshold needs, orange ones are worse, and grey ones are just at it. People with any
kind of colour blindness can tell blue from orange (Okabe and Ito 2008, Color Universal Design).
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from triage.model.preparation import PreparedPhoto
from triage.model.quality_map import QualityMap

FULL_COLOUR: Final = 0.1
"""Distance from the neutral contribution with the full colour: 49 such cells are 4.9 from the threshold's logit."""

_LONG_SIDE: Final = 896
_OPACITY: Final = 0.6
_BLUE: Final = (0, 114, 178)
_ORANGE: Final = (230, 159, 0)
_GREY: Final = (235, 235, 235)


def draw_map(quality: QualityMap, photo: PreparedPhoto) -> bytes:
    """Draws a map over its photo.

    Returns:
        A PNG file in the photo's proportions; its long side is 896 pixels.
    """
    width, height = photo.facts.width, photo.facts.height
    scale = _LONG_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray(photo.photo.permute(1, 2, 0).numpy()).convert("L").convert("RGB").resize(size)
    colours = Image.fromarray(colours_of(quality)).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    Image.blend(grey, colours, _OPACITY).save(file, "PNG")
    return file.getvalue()


def colours_of(quality: QualityMap) -> NDArray[np.uint8]:
    """The colour of each square of `QualityMap.over_photo`: uint8 (28, 28, 3), RGB."""
    distance = np.clip((quality.over_photo() - quality.neutral) / FULL_COLOUR, -1, 1)[:, :, np.newaxis]  # (28, 28, 1)
    end = np.where(distance > 0, _BLUE, _ORANGE)  # (28, 28, 3)
    colours: NDArray[np.uint8] = np.rint(_GREY + np.abs(distance) * (end - _GREY)).astype(np.uint8)
    return colours
