"""The measures that findings are based on: named numbers of the photo and of each patch."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triage.findings.light import colour_grid, describe_colour, describe_light, patch_windows
from triage.findings.sharpness import describe_sharpness, measure_sharpness
from triage.findings.skin import SkinColour, describe_skin


@dataclass(frozen=True, slots=True)
class Measures:
    """Named measures, as `describe_sharpness`, `describe_light`, `describe_colour` and `describe_skin` define them.

    Attributes:
        photo: measures of the whole photo. `noise`: log standard deviation in grey values; `size`: log2 of the photo's
            side / 512, at most 0; `worst_clipped`: the highest `clipped` of any patch.
        patches: measures of each patch (top left, top right, bottom left, bottom right, centre): blur and light are
            measured in the patch, the others are those of the photo.
    """

    photo: Mapping[str, float]
    patches: tuple[Mapping[str, float], ...]


def measure_photo(pixels: NDArray[np.uint8], small: NDArray[np.uint8], skin_colour: SkinColour) -> Measures:
    """Measures a photo in about 5 ms, independent of its size.

    Args:
        pixels: (H, W, 3), upright RGB at full resolution, any strides; only tiles of the green channel are read.
        small: (448, 448, 3), the photo resized to a square with antialiasing.
        skin_colour: the fitted skin colour model.
    """
    sharpness = measure_sharpness(pixels[..., 1], small[..., 1])
    shared = {"noise": float(np.log(sharpness.noise + 0.1)), "size": sharpness.size}
    grid = colour_grid(small)
    photo = shared | describe_sharpness(sharpness.tensors) | describe_light(grid) | describe_colour(grid)
    photo |= describe_skin(grid, skin_colour)
    patches = []
    for index, window in enumerate(patch_windows(grid)):
        light = describe_light(window)
        blur = describe_sharpness(sharpness.tensors[sharpness.patch_of == index])
        patches.append(photo | light | blur | {"worst_clipped": light["clipped"]})
    photo["worst_clipped"] = max(patch["worst_clipped"] for patch in patches)
    return Measures(photo, tuple(patches))
