"""All that is measured on a photo to explain its quality: named numbers, of the photo and of each of its patches."""

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
        photo: of the photo as a whole. `noise` is the log of its deviation in grey values, `size` log2 of the photo's
            side in 512ths (at most 0), `worst_clipped` the highest `clipped` of a patch.
        patches: of each patch (top left, top right, bottom left, bottom right, centre): blur and light are its own,
            all else is the photo's.
    """

    photo: Mapping[str, float]
    patches: tuple[Mapping[str, float], ...]


def measure_photo(pixels: NDArray[np.uint8], small: NDArray[np.uint8], skin_colour: SkinColour) -> Measures:
    """Measures a photo in some five milliseconds, whatever its size.

    Args:
        pixels: (H, W, 3), upright RGB at full resolution, any strides; only tiles of the green channel are read.
        small: (448, 448, 3), the same photo squashed to a square, antialiased.
        skin_colour: the fitted colour of skin.
    """
    sharpness = measure_sharpness(pixels[..., 1], small[..., 1])
    of_all = {"noise": float(np.log(sharpness.noise + 0.1)), "size": sharpness.size}
    grid = colour_grid(small)
    photo = of_all | describe_sharpness(sharpness.tensors) | describe_light(grid) | describe_colour(grid)
    photo |= describe_skin(grid, skin_colour)
    patches = []
    for index, window in enumerate(patch_windows(grid)):
        light = describe_light(window)
        blur = describe_sharpness(sharpness.tensors[sharpness.patch_of == index])
        patches.append(photo | light | blur | {"worst_clipped": light["clipped"]})
    photo["worst_clipped"] = max(patch["worst_clipped"] for patch in patches)
    return Measures(photo, tuple(patches))
