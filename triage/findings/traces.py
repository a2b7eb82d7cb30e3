"""Traces of enlargement and of JPEG compression, which tell a photo of few pixels from a blurred one.

Interpolation makes second differences periodic, with the period of the enlargement: Gallagher 2005, Detection of Linear
and Cubic Interpolation in JPEG Compressed Images, doi:10.1109/CRV.2005.33. Strong compression leaves steps between
blocks of 8 x 8 pixels: Wang, Sheikh and Bovik 2002, No-reference perceptual quality assessment of JPEG compressed
images, doi:10.1109/ICIP.2002.1038064. A lens or a moving hand leaves neither.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]

TRACES: Final = ("enlarged", "blocks", "is_enlarged", "has_blocks")
"""The names of the measures."""

_SIDE: Final = 512  # pixels; the middle of a larger photo is read
_LEAST: Final = 32  # pixels; smaller photos have no measurable period
_BLOCK: Final = 8
_SMOOTH: Final = 9  # pixels; slower changes are those of the scene
_LOWEST: Final = 0.11  # periods per pixel, above 1 / `_SMOOTH`
_FLOOR: Final = 0.1  # grey values: rounding to 8 bits
_FAINT: Final = 0.6  # grey values: blurred photos show the steps of good compression
_QUIET: Final = 1e-4  # power of a uniform photo
_ENLARGED: Final = (2.6, 3.6)  # nine of ten photos as they are lie below, most enlarged ones above
_BLOCKS: Final = (0.35, 0.65)  # the same for strong compression
_AROUND: Final = 33  # frequencies that a peak is compared with

_FREQUENCIES: Final = np.arange(_SIDE // 2 + 1) / _SIDE
_OF_BLOCKS: Final = np.abs(_FREQUENCIES - np.rint(_FREQUENCIES * _BLOCK) / _BLOCK) < 2.5 / _SIDE
_IS_READ: Final = (_FREQUENCIES > _LOWEST) & ~_OF_BLOCKS


def describe_traces(pixels: NDArray[np.uint8]) -> dict[str, float]:
    """Measures the middle of a photo.

    Args:
        pixels: (H, W, 3) at full resolution, any strides; only green is read.

    Returns:
        `enlarged`: the highest log ratio of the power of the second differences at a period of 2 to 9 pixels to the
        median power at similar periods, without the harmonics of JPEG blocks; `blocks`: log ratio of the steps at the
        edges of blocks to the steps inside, at the phase where it is highest, as rotated and cut photos have any phase;
        `is_enlarged`, `has_blocks`: the same between 0, as in photos of cameras, and 1, surely. All are 0 if a side has
        fewer than 32 pixels.
    """
    sides = [min(side, _SIDE) for side in pixels.shape[:2]]
    if min(sides) < _LEAST:
        return _named(0.0, 0.0)
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[:2], sides, strict=True))
    green = pixels[top : top + sides[0], left : left + sides[1], 1].astype(np.int16)
    power, blocks = np.zeros(len(_FREQUENCIES)), 0.0
    for axis in (0, 1):
        steps = np.diff(green, axis=axis)
        power += _power(np.abs(np.diff(steps, axis=axis)).mean(axis=1 - axis))
        blocks += _edges_of_blocks(np.abs(steps).mean(axis=1 - axis)) / 2
    read = np.log(power[_IS_READ] + _QUIET)
    around = sliding_window_view(np.pad(read, _AROUND // 2, mode="reflect"), _AROUND)
    return _named(float((read - np.median(around, axis=1)).max()), blocks)


def _named(enlarged: float, blocks: float) -> dict[str, float]:
    shares = [
        float(np.clip((value - low) / (high - low), 0, 1))
        for value, (low, high) in ((enlarged, _ENLARGED), (blocks, _BLOCKS))
    ]
    return dict(zip(TRACES, (enlarged, blocks, *shares), strict=True))


def _power(profile: Array) -> Array:
    """The power at each frequency of a profile across the photo, (n,) -> (257,)."""
    logs = np.log(profile + _FLOOR)
    slow = np.convolve(np.pad(logs, _SMOOTH // 2, mode="edge"), np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
    power: Array = np.abs(np.fft.rfft((logs - slow) * np.hanning(len(logs)), _SIDE)) ** 2 / len(logs)
    return power


def _edges_of_blocks(profile: Array) -> float:
    whole = len(profile) // _BLOCK * _BLOCK
    by_phase = profile[:whole].reshape(-1, _BLOCK).mean(axis=0) + _FAINT
    highest = by_phase.max()
    return float(np.log(highest * (_BLOCK - 1) / (by_phase.sum() - highest)))
