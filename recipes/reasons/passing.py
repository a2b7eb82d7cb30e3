"""The starter model's network over some of a photo's patches, in MNN."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from triage.domain.card import Card
from triage.evaluation.calibration import Platt
from triage.model.engines.mnn import MnnSession
from triage.model.network import OrdinalVGG16, pool_patches, statistics_of

_NUMBERS: Final = (2, 5)


class Passes:
    """Calls give the score and the mean statistics of some patches, as `recipes.reasons.collecting.Pass`."""

    def __init__(self, card: Card, network: OrdinalVGG16, cache: Path) -> None:
        network.reasons = None
        self._card = card
        self._network = network
        self._sessions = {n: MnnSession(network, cache, with_blocks=True, n_patches=n) for n in _NUMBERS}

    @torch.inference_mode()
    def __call__(self, photo: torch.Tensor, patches: Sequence[int]) -> tuple[float, NDArray[np.float32]]:
        inputs = self._network.normalised_patches(photo[None])[list(patches)]  # (n, 3, 224, 224)
        blocks = [torch.from_numpy(b) for b in self._sessions[len(patches)].run(inputs.contiguous().numpy())]
        logits = self._network.head(blocks[-1].flatten(1))[None]  # (1, n, K)
        probability = pool_patches(logits, self._card.pooling)[0][0, self._card.good_votes - 1].item()
        if (recalibration := self._card.recalibration) is not None:
            intercept = recalibration.intercepts[self._card.good_votes - 1]
            probability = Platt(recalibration.slope, intercept).apply([probability]).item()
        return probability, statistics_of(blocks).mean(dim=0).numpy()
