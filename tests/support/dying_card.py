"""A card that dies while it scores: the product's engine for cards on the CPU, with the errors that PyTorch raises."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from triage.model.engines.audited import AuditedEngine
from triage.model.engines.engine import Engine
from triage.model.engines.torch_cuda import TorchCudaEngine
from triage.model.engines.torch_exact import CPU
from triage.model.network import OrdinalVGG16


class DyingCard(nn.Module):
    """A network whose context is lost in one of its passes after it was loaded. Every later pass of it fails too."""

    def __init__(self, network: OrdinalVGG16) -> None:
        super().__init__()
        self.features = network.features
        self.network = network
        self.state = {"passes": 10**9}

    def __deepcopy__(self, memo: object) -> "DyingCard":
        copied = DyingCard(copy.deepcopy(self.network))
        copied.state = self.state  # one context for both networks of an engine
        return copied

    def forward(self, photos: Tensor) -> Tensor:
        self.state["passes"] -= 1
        if self.state["passes"] < 0:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        logits: Tensor = self.network(photos)
        return logits


def load_on_dying_card(network: OrdinalVGG16, lives: Path) -> Engine:
    """Loads a network on a card that dies.

    Args:
        network: any.
        lives: a file with two numbers: the processes whose context is still to be lost, which this call counts down,
            and the passes that each of them completes before.
    """
    card = DyingCard(network)
    engine = AuditedEngine(TorchCudaEngine(card, CPU, dtype=torch.float16, photos_per_call=4))
    left, passes = map(int, lives.read_text(encoding="ascii").split())
    if left > 0:
        lives.write_text(f"{left - 1} {passes}", encoding="ascii")
        card.state["passes"] = passes
    return engine
