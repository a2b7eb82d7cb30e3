"""Writes ICC profiles for colour spaces that files name without a profile, and reads the code points of profiles.

Sources: ICC.1:2022; ITU-T H.273 (code points); Bradford adaptation, ICC.1 annex E.
"""

import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Chromaticities: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]
"""(x, y) of red, green, blue and white."""

_D65: Final = (0.3127, 0.3290)
BT709: Final[Chromaticities] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)
BT2020: Final[Chromaticities] = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65)
DISPLAY_P3: Final[Chromaticities] = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65)
PRIMARIES: Final[Mapping[int, Chromaticities]] = MappingProxyType(
    {
        1: BT709,
        4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
        5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
        6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
        7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
        9: BT2020,
        11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
        12: DISPLAY_P3,
    }
)
"""Chromaticities by ColourPrimaries of H.273."""

PQ: Final = 16
HLG: Final = 18
_GAMMAS: Final = MappingProxyType({4: 2.2, 5: 2.8, 8: 1.0})
"""Exponents by TransferCharacteristics. The others are the sRGB curve or, like BT.709, shown with it."""

_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50: Final = np.array([0.9642, 1.0, 0.8249])


def to_xyz(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """The matrix (3, 3) from linear RGB to XYZ, with white at Y = 1."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in chromaticities]).T
    red_green_blue, white = columns[:, :3], columns[:, 3]
    matrix: NDArray[np.float64] = red_green_blue * np.linalg.solve(red_green_blue, white)
    return matrix


def rgb_profile(chromaticities: Chromaticities, gamma: float | None = None) -> bytes:
    """An ICC profile of an RGB colour space.

    Args:
        gamma: exponent of the transfer curve; None means the curve of sRGB.

    Raises:
        ValueError: the chromaticities span no colour space.
    """
    x, y = chromaticities[3]
    white = np.array([x / y, 1, (1 - x - y) / y])
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adapted = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ to_xyz(chromaticities)
    if gamma is None:
        curve = b"para\0\0\0\0" + struct.pack(">HH5i", 3, 0, *map(_fixed, _SRGB_CURVE))
    else:
        curve = b"para\0\0\0\0" + struct.pack(">HHi", 0, 0, _fixed(gamma))
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(adapted[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return _profile(tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def code_points_profile(primaries: int, transfer: int) -> bytes | None:
    """The profile for code points of H.273, None for sRGB and for unknown ones.

    PQ and HLG get a profile that holds nothing but the code points, which `code_points_of` reads.
    """
    if transfer in (PQ, HLG):
        return _profile({b"cicp": b"cicp\0\0\0\0" + bytes([primaries & 255, transfer, 0, 1])})
    chromaticities, gamma = PRIMARIES.get(primaries, BT709), _GAMMAS.get(transfer)
    return None if chromaticities is BT709 and gamma is None else rgb_profile(chromaticities, gamma)


def code_points_of(profile: bytes) -> tuple[int, int] | None:
    """ColourPrimaries and TransferCharacteristics of a profile's `cicp` tag. Source: ICC.1:2022, 9.2.17."""
    n_tags = int.from_bytes(profile[128:132])
    for start in range(132, min(132 + 12 * n_tags, len(profile) - 11), 12):
        if profile[start : start + 4] == b"cicp":
            (offset,) = struct.unpack_from(">I", profile, start + 4)
            content = profile[offset : offset + 12]
            return (content[8], content[9]) if len(content) == 12 and content.startswith(b"cicp") else None
    return None


def _profile(tags: Mapping[bytes, bytes]) -> bytes:
    """Source: ICC.1:2022, 7.2 (header), 7.3 (tag table)."""
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(content)
    header = struct.pack(">I4xI4s4s4s12x4s28x12s", size, 0x04400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", _xyz(_D50)[8:])
    return header.ljust(128, b"\0") + table + content


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *map(_fixed, values))


def _fixed(value: float) -> int:
    """s15Fixed16Number."""
    if not -32768 <= value < 32768:
        raise ValueError("the number does not fit an ICC profile")
    return round(value * 65536)


ADOBE_RGB: Final = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), _D65), 563 / 256)
"""Adobe RGB (1998)."""
