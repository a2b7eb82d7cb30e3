"""Light and colour of a photo and its patches, measured on a 112 x 112 grid of averages of the resized photo."""

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from triage.domain import photos

Array = NDArray[np.float32]
Value = TypeVar("Value", np.float32, np.bool_)

GRID: Final = 112
_EVERY: Final = 4
_LUMINANCE: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)  # Rec. 709
_CLIPPED: Final = 247
_NEARLY_CLIPPED: Final = 235
_BLOCK: Final = 8

_WINDOWS: Final = photos.patch_windows(GRID)


def colour_grid(small: NDArray[np.uint8]) -> Array:
    """Averages four pixels of each 4 x 4 block: (448, 448, 3) -> (112, 112, 3), sRGB, 0..255."""
    total = small[::_EVERY, ::_EVERY].astype(np.uint16)
    for row, column in ((0, 2), (2, 0), (2, 2)):
        total += small[row::_EVERY, column::_EVERY]
    return np.multiply(total, 0.25, dtype=np.float32)


def patch_windows(grid: NDArray[Value]) -> list[NDArray[Value]]:
    """Returns the five patches of a (112, 112, ...) grid as (56, 56, ...) views."""
    return [grid[top : top + GRID // 2, left : left + GRID // 2] for top, left in _WINDOWS]


def clipped_by_patch(grid: Array) -> list[float]:
    """The measure `clipped` of each patch, as `describe_light` defines it."""
    is_clipped = _lowest(grid) >= _CLIPPED
    return [_root_of_share(window) for window in patch_windows(is_clipped)]


def describe_light(colours: Array) -> dict[str, float]:
    """Computes measures of brightness.

    Args:
        colours: (h, w, 3), sRGB, 0..255.

    Returns:
        `median`, `shadows`, `lights`: log of (2 + the 50th, 10th and 95th percentile of the luminance in sRGB values);
        `warmth`: log of the ratio of red to blue, which separates dark skin from underexposed light skin; `clipped`:
        square root of the share of pixels with all channels saturated; `washed`: the same for any channel; `spot`: the
        highest share of nearly saturated pixels in a window of 1/7 of the photo's side.
    """
    pixels = colours.reshape(-1, 3)
    luminance = np.sort(pixels @ _LUMINANCE)
    n = len(luminance)
    low, median, high = (np.log(luminance[int(share * (n - 1))] + 2) for share in (0.1, 0.5, 0.95))
    mean = pixels.mean(axis=0)
    lowest = _lowest(pixels)
    highest = np.maximum(np.maximum(pixels[:, 0], pixels[:, 1]), pixels[:, 2])
    return {
        "median": float(median),
        "shadows": float(low),
        "lights": float(high),
        "warmth": float(np.log((mean[0] + 2) / (mean[2] + 2))),
        "clipped": _root_of_share(lowest >= _CLIPPED),
        "washed": _root_of_share(highest >= _CLIPPED + 5),
        "spot": _brightest_window((lowest >= _NEARLY_CLIPPED).reshape(colours.shape[:2])),
    }


def describe_colour(colours: Array) -> dict[str, float]:
    """Computes measures of colour cast.

    Args:
        colours: (h, w, 3), sRGB, 0..255.

    Returns:
        `red`, `blue`: mean log ratio of red to green and of blue to green; `light_red`, `light_blue`: the same for the
        brightest tenth of the pixels, which includes white objects and reflections; `neutral`: log of the 10th
        percentile of saturation, high if no pixel is grey.
    """
    pixels = colours.reshape(-1, 3) + 8  # keeps noise in dark areas from counting as colour
    luminance = pixels @ _LUMINANCE
    logs = np.log(pixels)
    red, blue = logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]
    light = luminance >= np.partition(luminance, int(0.9 * len(luminance)))[int(0.9 * len(luminance))]
    spread = np.abs(red) + np.abs(blue) + np.abs(red - blue)
    tenth = len(spread) // 10
    return {
        "red": float(red.mean()),
        "blue": float(blue.mean()),
        "light_red": float(red[light].mean()),
        "light_blue": float(blue[light].mean()),
        "neutral": float(np.log(np.partition(spread, tenth)[tenth] + 0.02)),
    }


def _lowest(colours: Array) -> Array:
    lowest: Array = np.minimum(np.minimum(colours[..., 0], colours[..., 1]), colours[..., 2])
    return lowest


def _root_of_share(is_so: NDArray[np.bool_]) -> float:
    return float(np.sqrt(is_so.mean()))


def _brightest_window(is_bright: NDArray[np.bool_]) -> float:
    """Returns the highest share of bright cells in a window of 2 x 2 blocks of 8 x 8 cells."""
    height, width = (side // _BLOCK for side in is_bright.shape)
    blocks = is_bright.reshape(height, _BLOCK, width, _BLOCK).mean(axis=(1, 3))
    windows = blocks[1:, 1:] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[:-1, :-1]
    return float(windows.max()) / 4
