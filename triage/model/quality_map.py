"""Where in a photo the quality is low: what each cell of the network's last features adds to the logit.

The head is linear over each patch's 7 x 7 x C features, so the share of each cell is exact: with the bias, the 49 cells
of a patch sum to its logit of P(votes >= good_votes). Normal scoring does not compute the map.

A cell is a square of 32 pixels of the resized photo, but its features also depend on its surroundings: a map shows
regions, not edges.
"""

from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triage.domain.card import Card
from triage.domain.photos import patch_windows
from triage.model.coral import CoralHead
from triage.model.network import FEATURE_SIDE, OrdinalVGG16

MAP_SIDE: Final = 4 * FEATURE_SIDE
"""Rows and columns of a map. Its squares are half as wide as a cell, since the centre patch lies half a cell off."""


@dataclass(frozen=True, slots=True)
class QualityMap:
    """The contributions of a photo's cells to the logits of its patches.

    Attributes:
        cells: float32 (5, 7, 7), patches in the order of `triage.domain.photos.PATCHES`, rows from the top: what each
            cell adds to the logit of P(votes >= good_votes) of its patch, before recalibration. A higher value means
            better quality.
        bias: what the head adds to the sum of a patch's cells.
        neutral: a patch whose cells all have this value has exactly the model's threshold as its score.
    """

    cells: NDArray[np.float32]
    bias: float
    neutral: float

    @property
    def logits(self) -> NDArray[np.float32]:
        """The logit of each patch, before recalibration: float32 (5,)."""
        sums: NDArray[np.float32] = self.cells.sum(axis=(1, 2)) + np.float32(self.bias)  # (5, 7, 7) -> (5,)
        return sums

    def over_photo(self) -> NDArray[np.float32]:
        """The map laid over the upright photo: float32 (28, 28).

        Square (i, j) covers the rows i/28 to (i + 1)/28 of the photo's height and the same columns of its width,
        whatever its aspect ratio. Its value is the contribution of the cell that covers it (not of a quarter of the
        cell), or the mean of two cells where the centre patch overlaps a corner.
        """
        total = np.zeros((MAP_SIDE, MAP_SIDE), np.float32)
        covered = np.zeros((MAP_SIDE, MAP_SIDE), np.float32)
        for cells, (top, left) in zip(self.cells, patch_windows(MAP_SIDE), strict=True):
            window = np.s_[top : top + MAP_SIDE // 2, left : left + MAP_SIDE // 2]
            total[window] += cells.repeat(2, axis=0).repeat(2, axis=1)  # (7, 7) -> (14, 14)
            covered[window] += 1
        return total / covered


@torch.inference_mode()
def map_quality(network: OrdinalVGG16, card: Card, photo: Tensor) -> QualityMap:
    """Computes the map of one photo.

    Args:
        network: in float32, on the CPU.
        card: of the network.
        photo: uint8 (3, 448, 448), from `resize_photo`.
    """
    output = card.good_votes - 1
    features = network.features_of(photo.unsqueeze(0))  # (1, 3, 448, 448) -> (5, C, 7, 7)
    head = network.head
    weight = head.weight if isinstance(head, CoralHead) else head.weight[output]  # (C*49,)
    cells = torch.einsum("pcij,cij->pij", features, weight.view(-1, FEATURE_SIDE, FEATURE_SIDE))  # -> (5, 7, 7)
    bias = float(head.bias[output])
    return QualityMap(cells.numpy(), bias, (_threshold_logit(card) - bias) / FEATURE_SIDE**2)


def _threshold_logit(card: Card) -> float:
    """The logit before recalibration of a score that equals the threshold; infinite for a threshold of 0 or 1."""
    threshold = card.threshold
    if threshold in {0, 1}:
        return float("inf") if threshold else float("-inf")
    logit = log(threshold / (1 - threshold))
    if card.recalibration is None:
        return logit
    return (logit - card.recalibration.intercepts[card.good_votes - 1]) / card.recalibration.slope
