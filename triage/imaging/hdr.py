"""Shows pictures coded for bright screens (PQ, HLG) as a screen of normal brightness shows them.

Diffuse white of 203 cd/m2 becomes the white of sRGB, and what is brighter is clipped, as an overexposed camera does.
Below it, nothing is compressed: a picture looks the same as its copy in sRGB.
Sources: ITU-R BT.2100-2, tables 4 (PQ) and 5 (HLG); BT.2408-5, 2.1 (203 cd/m2; HLG on a display of 1000 cd/m2).
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.imaging.profiles import BT709, BT2020, PQ, PRIMARIES, to_xyz

Array = NDArray[np.float32]

WHITE: Final = 203.0  # cd/m2
_HLG_PEAK: Final = 1000.0  # cd/m2
_HLG_GAMMA: Final = 1.2
_ROWS: Final = 256  # converted together, which bounds the memory
_FINE: Final = 4096  # steps of the table from linear light to levels


def to_standard_range(pixels: NDArray[np.uint8], primaries: int, transfer: int) -> NDArray[np.uint8]:
    """Converts PQ or HLG to sRGB.

    Args:
        pixels: (H, W, 3), R, G, B, full range.
        primaries: ColourPrimaries of ITU-T H.273; unknown ones are taken as BT.2020, which BT.2100 prescribes.
        transfer: 16 for PQ, otherwise HLG.

    Returns:
        (H, W, 3).
    """
    matrix = _to_bt709(primaries)
    shown = np.empty_like(pixels)
    for start in range(0, len(pixels), _ROWS):
        rows = pixels[start : start + _ROWS]
        light = _pq_light()[rows] if transfer == PQ else _hlg_light(rows, primaries)
        light = light @ matrix.T
        shown[start : start + _ROWS] = _srgb_levels()[(light.clip(0, 1) ** 0.5 * (_FINE - 1) + 0.5).astype(np.uint16)]
    return shown


@lru_cache
def _to_bt709(primaries: int) -> Array:
    source = to_xyz(PRIMARIES.get(primaries, BT2020))
    return np.linalg.solve(to_xyz(BT709), source).astype(np.float32)


@lru_cache
def _pq_light() -> Array:
    """(256,): linear light by level, 1 is diffuse white."""
    m1, m2 = 2610 / 16384, 2523 / 32
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.linspace(0, 1, 256) ** (1 / m2)
    nits = 10_000 * ((power - c1).clip(0) / (c2 - c3 * power)) ** (1 / m1)
    return (nits / WHITE).astype(np.float32)


def _hlg_light(rows: NDArray[np.uint8], primaries: int) -> Array:
    scene = _hlg_scene()[rows]
    luminance = scene @ to_xyz(PRIMARIES.get(primaries, BT2020))[1].astype(np.float32)
    bright: Array = scene * (luminance[..., None] ** np.float32(_HLG_GAMMA - 1)) * np.float32(_HLG_PEAK / WHITE)
    return bright


@lru_cache
def _hlg_scene() -> Array:
    """(256,): light of the scene by level, 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    level = np.linspace(0, 1, 256)
    return np.where(level <= 0.5, level**2 / 3, (np.exp((level - c) / a) + b) / 12).astype(np.float32)


@lru_cache
def _srgb_levels() -> NDArray[np.uint8]:
    """(_FINE,): levels of sRGB by the square root of linear light. Source: IEC 61966-2-1."""
    light = np.linspace(0, 1, _FINE) ** 2
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * coded + 0.5).astype(np.uint8)
