"""SGD on the weights of a network that are not frozen, whose momentum a checkpoint keeps."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class SgdSettings(Protocol):
    """Settings of the optimiser."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


class Sgd(torch.optim.SGD):
    """Knows its weights by name."""

    def __init__(self, network: nn.Module, settings: SgdSettings, momentum: Mapping[str, Tensor] | None = None) -> None:
        """
        Args:
            network: on the device that trains.
            settings: the same for all weights.
            momentum: of an interrupted training, by the names of the weights.
        """
        self._named = {name: weights for name, weights in network.named_parameters() if weights.requires_grad}
        super().__init__(
            self._named.values(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        for name, buffer in (momentum or {}).items():
            weights = self._named[name]
            self.state[weights]["momentum_buffer"] = buffer.to(weights.device, copy=True)

    @property
    def rate(self) -> float:
        """The learning rate."""
        rate: float = self.param_groups[0]["lr"]
        return rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self.param_groups[0]["lr"] = rate

    def momentum_by_name(self) -> dict[str, Tensor]:
        """The momentum of each weight, on the CPU, after the first step."""
        return copy_to_cpu({name: self.state[weights]["momentum_buffer"] for name, weights in self._named.items()})


def copy_to_cpu(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, so that a copy neither changes nor takes memory of a card."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
