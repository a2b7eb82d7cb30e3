"""Sharpness and direction of blur, measured on a few full-resolution tiles.

Each tile is averaged to steps of 1/512 of the photo's side, so the result depends on the blur relative to the photo and
not on its pixel count. Tiles are taken where the photo has most fine detail: a blurred background behind a sharp
subject does not count. Noise is estimated where the photo is flattest, and subtracted.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from triage.domain.photos import patch_windows

Array = NDArray[np.float32]

REFERENCE_SIDE: Final = 512
"""Steps along the side of a square photo."""

SCALES: Final = (1, 2, 4, 8)
"""Widths of the averages between which gradients are taken, in steps."""

_TILE: Final = 64  # steps along a tile's side
_CELLS: Final = 14  # cells of 32 x 32 pixels along each side of the resized photo; tiles are chosen among them
_CELL: Final = 32
_FLATTEST: Final = 2
_SHARPEST: Final = 3
_MOST_IN_16_BITS: Final = 16  # side of the largest square whose sum of bytes fits
_FLOOR: Final = 0.02  # grey values squared: the gradient energy of rounding to 8 bits

# (top, left, side) of each patch in cells, and the number of tiles in it; the centre patch is 7 cells wide from 3.5 on,
# of which the 6 whole ones are used
_PATCHES: Final = (*((top, left, 7, 2) for top, left in patch_windows(_CELLS)[:4]), (4, 4, 6, 4))


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Structure tensors of tiles, with the noise subtracted.

    Attributes:
        tensors: (T, 4, 3), the means of gx^2, gy^2 and gx*gy per tile and scale, in grey values squared.
        patch_of: (T,), the patch of each tile, 0..4.
        noise: standard deviation in grey values at a width of one step.
        size: log2 of the photo's side / `REFERENCE_SIDE`, at most 0.
    """

    tensors: Array
    patch_of: NDArray[np.intp]
    noise: float
    size: float


def measure_sharpness(pixels: NDArray[np.uint8], small: NDArray[np.uint8]) -> Sharpness:
    """Samples tiles of the green channel where the photo has most detail.

    Args:
        pixels: (H, W, 3) at full resolution, any strides.
        small: (448, 448), the green channel of the photo resized to a square.

    Source: structure tensor, Bigun and Granlund 1987; noise, Immerkaer 1996, Fast Noise Variance Estimation,
    doi:10.1006/cviu.1996.0060.
    """
    height, width, _ = pixels.shape
    shorter = min(height, width)
    step = min(np.sqrt(height * width) / REFERENCE_SIDE, shorter / _TILE)
    size = float(min(0.0, np.log2(np.sqrt(height * width) / REFERENCE_SIDE)))
    step = max(1.0, step)
    detail = _detail(small)  # (14, 14)
    places = [_strongest(detail, *patch) for patch in _PATCHES]
    patch_of = np.repeat(np.arange(len(places)), [len(found) for found in places])
    flattest = np.argsort(detail, axis=None, kind="stable")[:_FLATTEST]
    cells = np.concatenate([*places, flattest])
    tiles = np.stack([_tile(pixels, divmod(int(cell), _CELLS), step) for cell in cells])  # (T + 2, t, t)
    noise = float(np.sqrt(_noise_variance(tiles[-_FLATTEST:]).min()))
    return Sharpness(_tensors(tiles[:-_FLATTEST], noise), patch_of, noise, size)


def describe_sharpness(tensors: Array) -> dict[str, float]:
    """Computes measures of sharpness from structure tensors.

    Args:
        tensors: (T, 4, 3), T > 0.

    Returns:
        `fine`, `middle`, `coarse`: log ratios of gradient energy between adjacent scales in the three sharpest tiles;
        `across_*`, `along_*`: the same over all tiles in the directions of most and least energy; `direction_*`: log
        ratio of the energies of these directions (0: isotropic); `contrast`: log energy at the widest scale.
    """
    energy = tensors[..., 0] + tensors[..., 1] + _FLOOR  # (T, 4)
    sharpest = np.argsort(-energy[:, 0] / (energy[:, 1] + 0.5), kind="stable")[:_SHARPEST]
    share = energy[sharpest] / energy[sharpest, 1:2]  # (3, 4)
    levels = np.log(share.mean(axis=0))
    weights = 1 / (energy[:, 1] + 0.5)
    mean = (tensors * weights[:, None, None]).mean(axis=0)  # (4, 3)
    half, floor = (mean[:, 0] + mean[:, 1]) / 2, _FLOOR * float(weights.mean())
    swing = np.hypot((mean[:, 0] - mean[:, 1]) / 2, mean[:, 2])
    across, along = np.log(half + swing + floor), np.log(np.maximum(half - swing, 0) + floor)  # (4,)
    return {
        "fine": float(levels[0] - levels[1]),
        "middle": float(levels[1] - levels[2]),
        "coarse": float(levels[2] - levels[3]),
        "across_fine": float(across[0] - across[1]),
        "across_middle": float(across[1] - across[2]),
        "along_fine": float(along[0] - along[1]),
        "along_middle": float(along[1] - along[2]),
        "along_coarse": float(along[2] - along[3]),
        "direction_fine": float(across[0] - along[0]),
        "direction_middle": float(across[1] - along[1]),
        "direction_wide": float(across[2] - along[2]),
        "direction_widest": float(across[3] - along[3]),
        "contrast": float(np.log(energy[:, 3].max())),
    }


def _detail(small: NDArray[np.uint8]) -> Array:
    """Returns the fine detail of each cell, (14, 14): mean square of second differences."""
    rows = small[::2].astype(np.int16)  # every other row is sufficient
    columns = small[:, ::2].astype(np.int16)
    horizontal = np.zeros(rows.shape, np.float32)
    vertical = np.zeros(columns.shape, np.float32)
    horizontal[:, 1:-1] = 2 * rows[:, 1:-1] - rows[:, :-2] - rows[:, 2:]
    vertical[1:-1] = 2 * columns[1:-1] - columns[:-2] - columns[2:]
    horizontal *= horizontal
    vertical *= vertical
    across = horizontal.reshape(_CELLS, _CELL // 2, _CELLS, _CELL).sum(axis=1).sum(axis=2)
    down = vertical.reshape(_CELLS, _CELL, _CELLS, _CELL // 2).sum(axis=1).sum(axis=2)
    detail: Array = (across + down) / (_CELL * _CELL)
    return detail


def _strongest(detail: Array, top: int, left: int, side: int, count: int) -> NDArray[np.intp]:
    window = detail[top : top + side, left : left + side]
    row, column = np.divmod(np.argsort(-window, axis=None, kind="stable")[:count], side)
    return (row + top) * _CELLS + column + left


def _tile(pixels: NDArray[np.uint8], cell: tuple[int, int], step: float) -> Array:
    """Returns the tile around a cell, (t, t); each value is the average of `step` x `step` pixels."""
    starts, sides = [], []
    whole = int(step)
    for length, index in zip(pixels.shape[:2], cell, strict=True):
        n = min(_TILE, int(length / step))
        side = min(length, int(np.ceil(n * step / whole)) * whole)
        middle = (index + 0.5) / _CELLS * length
        starts.append(int(np.clip(round(middle - side / 2), 0, length - side)))
        sides.append(side // whole * whole)
    (top, left), (height, width) = starts, sides
    sums = _green_sums(pixels[top : top + height, left : left + width], whole)
    averaged: Array = np.multiply(sums, 1 / (whole * whole), dtype=np.float32)
    rest = step / whole
    if rest > 1.01:
        by_rows, by_columns = (_averages(side, rest) for side in averaged.shape)
        averaged = np.matmul(by_rows @ averaged, by_columns.T, dtype=np.float32)
    missing = [max(0, _TILE - side) for side in averaged.shape]
    if any(missing):
        averaged = np.pad(averaged, [(0, count) for count in missing], mode="symmetric")
    return averaged[:_TILE, :_TILE]


def _green_sums(pixels: NDArray[np.uint8], side: int) -> NDArray[Any]:
    """Sums of green over squares: (h, w, 3) -> (h / side, w / side).

    Whole rows are added as they lie in memory, and green is picked from their sums: picking it first takes longer.
    """
    flips = tuple(slice(None, None, -1 if stride < 0 else None) for stride in pixels.strides[:2])
    stored = pixels[flips]
    is_turned = stored.strides[0] < stored.strides[1]
    if is_turned:
        stored = stored.swapaxes(0, 1)
    rows = stored.reshape(len(stored), -1)  # (h, w * 3)
    sums: NDArray[Any] = rows[::side].astype(np.uint16 if side <= _MOST_IN_16_BITS else np.uint32)  # (h / side, w * 3)
    for offset in range(1, side):
        sums += rows[offset::side]
    green = sum((sums[:, 3 * offset + 1 :: 3 * side] for offset in range(1, side)), start=sums[:, 1 :: 3 * side])
    return (green.T if is_turned else green)[flips]


@lru_cache(maxsize=16)  # all tiles of a photo share it
def _averages(length: int, step: float) -> Array:
    """Returns the matrix that averages over windows of fractional width, (floor(length / step), length)."""
    starts = np.arange(int(length / step))[:, None] * step
    pixels = np.arange(length)[None]
    overlap = np.minimum(starts + step, pixels + 1) - np.maximum(starts, pixels)
    matrix: Array = (overlap.clip(0, None) / step).astype(np.float32)
    return matrix


def _noise_variance(tiles: Array) -> Array:
    """Returns the noise variance of each tile, (T,)."""
    rows = tiles[:, :-2] - 2 * tiles[:, 1:-1] + tiles[:, 2:]
    both = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    variance: Array = (both * both).mean(axis=(1, 2)) / 36
    return variance


def _tensors(tiles: Array, noise: float) -> Array:
    """(T, t, t) -> (T, 4, 3): the means of gx^2, gy^2 and gx*gy at each scale, noise subtracted."""
    found = np.empty((len(tiles), len(SCALES), 3), np.float32)
    pooled = tiles
    for number, scale in enumerate(SCALES):
        if number:
            pooled = pooled[:, ::2] + pooled[:, 1::2]
            pooled = np.multiply(pooled[:, :, ::2] + pooled[:, :, 1::2], 0.25, dtype=np.float32)  # 2 x 2 averages
        gx = pooled[:, :, 1:] - pooled[:, :, :-1]
        gy = pooled[:, 1:] - pooled[:, :-1]
        gx = (gx[:, 1:] + gx[:, :-1]) / 2  # both at the corner between four values
        gy = (gy[:, :, 1:] + gy[:, :, :-1]) / 2
        floor = (noise / scale) ** 2
        found[:, number, 0] = ((gx * gx).mean(axis=(1, 2)) - floor).clip(0, None)
        found[:, number, 1] = ((gy * gy).mean(axis=(1, 2)) - floor).clip(0, None)
        found[:, number, 2] = (gx * gy).mean(axis=(1, 2))
    return found
