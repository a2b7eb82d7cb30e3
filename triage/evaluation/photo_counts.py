"""Thresholds for messages of several photos: the best of n scores is higher than one score, so it may need more."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from triage.errors import UsageError
from triage.evaluation.operating_point import just_below, ppv_threshold, youden_threshold
from triage.evaluation.predictions import Predictions

FEWEST_GROUPS: Final = 20
"""The smallest number of usable and of unusable groups of one size that a threshold is fitted to."""


def fit_thresholds(
    predictions: Predictions, *, good_votes: int, column: str, target_ppv: float | None = None
) -> dict[int, float]:
    """Fits one threshold for each size of group.

    A group is usable if any of its photos is good, and passes if its best score does. Sizes with fewer than
    `FEWEST_GROUPS` usable or unusable groups are left out: the model's own threshold applies to them.

    Args:
        predictions: of single photos.
        good_votes: a photo with at least this number of votes is good.
        column: holds the group of each photo: a message, or a skin site within a message. Empty for photos without one.
        target_ppv: choose for this share of usable groups among those that pass, instead of by Youden's index.

    Returns:
        Thresholds by number of photos.

    Raises:
        UsageError: the column is missing, or no size has enough groups.
    """
    if column not in predictions.columns:
        raise UsageError(f"the predictions have no column {column!r}: name the column of the groups")
    good = predictions.good(good_votes)
    fitted = {}
    for size, groups in sorted(_groups_by_size(predictions.columns[column]).items()):
        best = np.array([predictions.scores[indices].max() for indices in groups])
        usable = np.array([good[indices].any() for indices in groups])
        if size < 2 or min(usable.sum(), (~usable).sum()) < FEWEST_GROUPS:
            continue  # the model's own threshold applies
        with suppress(UsageError):  # no threshold reaches the target: the model's own applies
            fitted[size] = just_below(
                youden_threshold(best, usable) if target_ppv is None else ppv_threshold(best, usable, target_ppv)
            )
    if not fitted:
        raise UsageError(
            f"no number of photos has {FEWEST_GROUPS} usable and {FEWEST_GROUPS} unusable groups: add predictions"
        )
    return fitted


def _groups_by_size(names: Sequence[str]) -> dict[int, list[list[int]]]:
    """The indices of each group's photos, by the number of its photos."""
    members: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        if name:
            members[name].append(index)
    by_size: dict[int, list[list[int]]] = defaultdict(list)
    for indices in members.values():
        by_size[len(indices)].append(indices)
    return by_size
