"""PyTorch in float32 on a CPU: the reference for every other engine.

Axes: n photos, 5 patches, K outputs.
"""

from typing import Final

import torch
from torch import Tensor, nn

from triage.model.engines.engine import ExactEngine

CPU: Final = torch.device("cpu")


class TorchEngine(ExactEngine):
    """A network in float32 and channels-last format, the fastest on CPUs."""

    name: Final = "torch"

    def __init__(self, network: nn.Module, device: torch.device = CPU, *, photos_per_call: int = 1) -> None:
        """
        Args:
            network: from uint8 (n, 3, 448, 448) to (n, 5, K), as `OrdinalVGG16`; it is moved to `device`.
            device: to run on.
            photos_per_call: photos in one forward pass. On a CPU one photo, which is five patches, is fastest.
        """
        self.device = device
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._photos_per_call = photos_per_call

    @torch.inference_mode()
    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`."""
        parts = [self._network(batch.to(self.device)).float().cpu() for batch in photos.split(self._photos_per_call)]
        return torch.cat(parts)  # (photos_per_call, 5, K) each -> (n, 5, K)
