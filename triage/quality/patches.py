"""A photo's five patches: four corners and the centre, each half of its height and width.

Cutting five regions and resizing each to 224 x 224 equals resizing the photo once to 448 x 448 and taking five
224 x 224 windows of it, but for a seam of a pixel or two (scores within .004), at a fifth of the cost.

A change here needs a new `PREPROCESSING` in `card.py`.
"""

from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PHOTO_SIDE: Final = 448
PATCH_SIDE: Final = 224
N_PATCHES: Final = 5

# (top, left) in pixels: top left, top right, bottom left, bottom right, centre
_WINDOWS: Final = ((0, 0), (0, 224), (224, 0), (224, 224), (112, 112))


def resize_photo(image: Image.Image) -> Tensor:
    """Resizes an upright RGB photo, antialiased, whatever its aspect ratio.

    Args:
        image: mode RGB, any size.

    Returns:
        uint8 (3, 448, 448), channels R, G, B, values 0..255.
    """
    resized = image.resize((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)  # (448, 448, 3) -> (3, 448, 448)


def five_patches(photos: Tensor) -> Tensor:
    """Cuts the five windows of each photo.

    Args:
        photos: (N, 3, 448, 448), any dtype.

    Returns:
        (N, 5, 3, 224, 224): top left, top right, bottom left, bottom right, centre.
    """
    windows = [photos[:, :, top : top + PATCH_SIDE, left : left + PATCH_SIDE] for top, left in _WINDOWS]
    return torch.stack(windows, dim=1)
