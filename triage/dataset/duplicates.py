"""Photos that are in a data set twice: the same bytes, or another copy of the same picture in another split.

A picture that a network has learned from proves nothing when it is in the test photos too.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from triage.dataset.manifest import LabelledPhoto

_SIDE: Final = 32
_LOW: Final = 8
_MOST_DIFFERENT: Final = 6
"""Bits of 64 in which the hashes of two copies differ at most; those of different photos differ in about 32."""

_BITS: Final = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a photo is recognised by.

    Attributes:
        sha256: of the file.
        looks: uint8 (8,), 64 bits of the low frequencies, which a copy in another size or format shares.
    """

    sha256: bytes
    looks: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two photos, by their place in the manifest from 1.

    Attributes:
        same_bytes: the files are equal; if not, they look alike and are in two splits.
    """

    first: int
    second: int
    same_bytes: bool


def fingerprint(data: bytes, image: Image.Image) -> Fingerprint:
    """Hashes a file, and the sign of each low frequency of its picture against their median.

    Args:
        data: of the file.
        image: upright.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), dtype=np.float64)
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW].ravel()
    return Fingerprint(hashlib.sha256(data).digest(), np.packbits(low > np.median(low[1:])))


def find_duplicates(photos: Sequence[LabelledPhoto], prints: Sequence[Fingerprint | None]) -> Iterator[Duplicate]:
    """Gives out all pairs with the same bytes, then those that look alike and are in two splits.

    Args:
        photos: of the manifest.
        prints: of each photo; None for one that cannot be decoded.
    """
    places: dict[bytes, list[int]] = {}
    for place, each in enumerate(prints):
        if each is not None:
            places.setdefault(each.sha256, []).append(place)
    for same in places.values():
        yield from (Duplicate(a + 1, b + 1, same_bytes=True) for a, b in combinations(same, 2))
    known = [(place, each) for place, each in enumerate(prints) if each is not None]
    looks = np.stack([each.looks for _, each in known]) if known else np.empty((0, 8), dtype=np.uint8)  # (N, 8)
    for row, (place, each) in enumerate(known):
        differing = _BITS[looks[row + 1 :] ^ each.looks].sum(axis=1)  # (N - row - 1,)
        for other in np.flatnonzero(differing <= _MOST_DIFFERENT).tolist():
            second, theirs = known[row + 1 + other]
            if photos[place].split is not photos[second].split and each.sha256 != theirs.sha256:
                yield Duplicate(place + 1, second + 1, same_bytes=False)
