"""An engine of constant time on any machine: it scores brightness instead of running VGG16."""

import os
import signal
import time
from typing import Final

import torch
from torch import Tensor

from tests.system.chaos.photos import COLOURS, Harm
from triage.model.engines.engine import ExactEngine

_SECONDS_PER_PHOTO: Final = 0.01
_N_OUTPUTS: Final = 4


class BrightnessEngine(ExactEngine):
    """Computes logits from brightness. Photos of certain colours crash it, as a photo might crash a real network."""

    name: Final = "brightness"
    device: Final = torch.device("cpu")

    def logits(self, photos: Tensor) -> Tensor:
        means = photos.float().mean(dim=(2, 3))  # (n, 3, 448, 448) -> (n, 3)
        for harm, colour in COLOURS.items():
            if bool(((means - torch.tensor(colour)).abs().amax(dim=1) < 20).any()):
                _suffer(harm)
        time.sleep(_SECONDS_PER_PHOTO * len(photos))
        brightness = (means.mean(dim=1) / 255 - 0.5) * 8  # (n,)
        steps = torch.linspace(1, -2, _N_OUTPUTS)  # the second output, P(votes >= 2), is the score
        return (brightness[:, None, None] + steps).expand(-1, 5, -1)  # (n, 5, K)


def _suffer(harm: Harm) -> None:
    match harm:
        case Harm.KILLS:
            os.kill(os.getpid(), signal.SIGKILL)
        case Harm.RAISES:
            raise ValueError("the network raises")
        case Harm.EXHAUSTS_MEMORY:
            torch.empty(2**50)  # exceeds any memory, so torch raises its out-of-memory error
