"""PyTorch in float32 on any of its devices: what every other engine is measured by."""

from typing import Final

import torch
from torch import Tensor, nn

CPU: Final = torch.device("cpu")


class TorchEngine:
    """A network as it is, in the memory format that is fastest on CPUs and cards alike."""

    name: Final = "torch"
    logit_tolerance: Final = 0.0

    def __init__(self, network: nn.Module, device: torch.device = CPU, *, photos_per_call: int = 1) -> None:
        """
        Args:
            network: from uint8 (n, 3, 448, 448) to (n, 5, K), as `OrdinalVGG16`; it is moved to `device`.
            device: where it runs.
            photos_per_call: photos in one forward pass. On a CPU more than one, with its five patches, is slower.
        """
        self.device = device
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._photos_per_call = photos_per_call

    @torch.inference_mode()
    def logits(self, photos: Tensor) -> Tensor:
        """As `Engine.logits`."""
        parts = [self._network(batch.to(self.device)).float().cpu() for batch in photos.split(self._photos_per_call)]
        return torch.cat(parts)  # (n, 5, K)

    def exact_logits(self, photos: Tensor) -> Tensor:
        """As `Engine.exact_logits`."""
        return self.logits(photos)
