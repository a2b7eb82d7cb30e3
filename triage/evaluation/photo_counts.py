"""Thresholds for messages of several photos: the best of n scores is higher than one score, so it may need more."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from triage.errors import UsageError
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.statistics.auc import Labels, Scores

FEWEST_GROUPS: Final = 20
"""The smallest number of usable and of unusable groups of one size that a threshold is fitted to."""


def thresholds_by_photo_count(
    scores: Scores, good: Labels, groups: Sequence[str], *, target_ppv: float | None = None
) -> dict[int, float]:
    """Fits one threshold for each size of group.

    A group is usable if any of its photos is good, and passes if its best score does. Sizes with fewer than
    `FEWEST_GROUPS` usable or unusable groups are left out: the model's own threshold applies to them.

    Args:
        scores: float64 (N,), 0..1.
        good: bool (N,).
        groups: the group of each photo: a message, or a skin site within a message. Empty for photos without one.
        target_ppv: choose for this share of usable groups among those that pass, instead of by Youden's index.

    Returns:
        Thresholds by number of photos.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if group:
            members[group].append(index)
    by_size: dict[int, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        by_size[len(indices)].append(indices)
    fitted = {}
    for size, of_size in sorted(by_size.items()):
        if size < 2:
            continue  # the model's own threshold
        best = np.array([scores[indices].max() for indices in of_size])
        usable = np.array([good[indices].any() for indices in of_size])
        if min(usable.sum(), (~usable).sum()) < FEWEST_GROUPS:
            continue
        with suppress(UsageError):  # no threshold reaches the target: the model's own applies
            fitted[size] = just_below(
                youden_threshold(best, usable) if target_ppv is None else ppv_threshold(best, usable, target_ppv)
            )
    return fitted
