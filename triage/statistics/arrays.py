"""The arguments of every measure: a score for each photo, and whether the photo is good.

Axes: n photos.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]


def checked(scores: ArrayLike, good: ArrayLike) -> tuple[Floats, Bools]:
    """Converts scores to float64 (n,) and labels to bool (n,).

    Raises:
        ValueError: the shapes differ or are not (n,), or a score is not finite.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(good, dtype=np.bool_)
    if values.ndim != 1 or values.shape != labels.shape:
        raise ValueError(f"scores {values.shape} and labels {labels.shape} must be of the same shape (n,)")
    if not np.isfinite(values).all():
        raise ValueError("a score is not finite")
    return values, labels


def checked_classes(scores: ArrayLike, good: ArrayLike) -> tuple[Floats, Bools]:
    """Like `checked`, with at least one good and one bad photo.

    Raises:
        ValueError: as `checked`; or all photos are good, or all are bad.
    """
    values, labels = checked(scores, good)
    if labels.all() or not labels.any():
        raise ValueError("there must be at least one good and one bad photo")
    return values, labels
