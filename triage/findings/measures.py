"""The measures that findings are based on: named numbers of the photo and of each patch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from triage.findings.light import (
    Array,
    clipped_by_patch,
    colour_grid,
    describe_colour,
    describe_light,
    patch_windows,
)
from triage.findings.sharpness import Sharpness, describe_sharpness, measure_sharpness
from triage.findings.skin import SkinColour, describe_skin
from triage.findings.traces import describe_traces


@dataclass(frozen=True)
class Measures:
    """Named measures, as `describe_sharpness`, `describe_light`, `describe_colour` and others define them.

    Attributes:
        photo: measures of the whole photo. `noise`: log standard deviation in grey values; `size`: log2 of the photo's
            side / 512, at most 0; `worst_clipped`: the highest `clipped` of any patch.
        sharpness: of the tiles.
        grid: (112, 112, 3), from `colour_grid`.
    """

    photo: Mapping[str, float]
    sharpness: Sharpness
    grid: Array

    @cached_property
    def patches(self) -> tuple[Mapping[str, float], ...]:
        """Measures of each patch (top left, top right, bottom left, bottom right, centre).

        Blur and light are measured in the patch, the others are those of the photo. They are measured on first use:
        most photos have no finding that is located in patches.
        """
        return tuple(self._of_patch(index, window) for index, window in enumerate(patch_windows(self.grid)))

    def _of_patch(self, index: int, window: Array) -> Mapping[str, float]:
        light = describe_light(window)
        blur = describe_sharpness(self.sharpness.tensors[self.sharpness.patch_of == index])
        return {**self.photo, **light, **blur, "worst_clipped": light["clipped"]}


def measure_photo(pixels: NDArray[np.uint8], small: NDArray[np.uint8], skin_colour: SkinColour) -> Measures:
    """Measures a photo in about 5 ms, independent of its size.

    Args:
        pixels: (H, W, 3), upright RGB at full resolution, any strides; only tiles of the green channel are read.
        small: (448, 448, 3), the photo resized to a square with antialiasing.
        skin_colour: the fitted skin colour model.
    """
    sharpness = measure_sharpness(pixels, small[..., 1])
    grid = colour_grid(small)
    photo = {
        "noise": float(np.log(sharpness.noise + 0.1)),
        "size": sharpness.size,
        "worst_clipped": max(clipped_by_patch(grid)),
        **describe_sharpness(sharpness.tensors),
        **describe_light(grid),
        **describe_colour(grid),
        **describe_skin(grid, skin_colour),
        **describe_traces(pixels),
    }
    return Measures(photo, sharpness, grid)
