"""Thresholds for messages of several photos: the best of n passes more easily than one, so n photos may need more."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from triage.errors import UsageError
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.statistics.auc import Labels, Scores

FEWEST_GROUPS: Final = 20
"""Usable and unusable groups that a count of photos needs before a threshold is fitted for it."""


def thresholds_by_photo_count(
    scores: Scores, good: Labels, groups: Sequence[str], *, target_ppv: float | None = None
) -> dict[int, float]:
    """Fits one threshold for each size of group from labelled groups.

    A group is usable if any of its photos is good, and passes if its best score does. Sizes with fewer than twenty
    usable or twenty unusable groups are left out: the model's own threshold serves them.

    Args:
        groups: of each photo, the group (a message, or a skin site of one) that it belongs to.
        target_ppv: choose for this share of usable groups among those that pass, instead of by Youden's index.

    Returns:
        Threshold by number of photos.
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
            continue  # the model's own threshold is for one photo
        best = np.array([scores[indices].max() for indices in of_size])
        usable = np.array([good[indices].any() for indices in of_size])
        if min(usable.sum(), (~usable).sum()) < FEWEST_GROUPS:
            continue
        with suppress(UsageError):  # a size at which nothing reaches the target keeps the model's own threshold
            fitted[size] = just_below(
                youden_threshold(best, usable) if target_ppv is None else ppv_threshold(best, usable, target_ppv)
            )
    return fitted
