"""A network's passes over one batch: to learn from it, and to predict.

Axes: n photos of a batch, 5 patches, K outputs (the votes that most photos have).
"""

from functools import partial

import torch
from torch import Tensor

from triage.model.coral import coral_loss
from triage.model.engines.batch_size import LARGEST_BATCH, BatchSize
from triage.model.network import OrdinalVGG16, pool_patches
from triage.training.config import TrainingConfig
from triage.training.memory import within_memory


class Passes:
    """A network that learns. If the memory of a card is full, a batch is processed in parts, with the same result."""

    def __init__(self, network: OrdinalVGG16, optimiser: torch.optim.Optimizer, config: TrainingConfig) -> None:
        """
        Args:
            network: on the device that trains.
            optimiser: of its trained weights.
            config: the settings.
        """
        self.device = next(network.parameters()).device
        self._network = network
        self._optimiser = optimiser
        self._config = config
        self._trained = [weights for weights in network.parameters() if weights.requires_grad]
        self._learned_at_once = BatchSize(LARGEST_BATCH)
        self._predicted_at_once = BatchSize(LARGEST_BATCH)

    def learn(self, photos: Tensor, levels: Tensor) -> Tensor:
        """One step of the optimiser.

        Args:
            photos: uint8 (n, 3, 448, 448), on the device.
            levels: float32 (n, K), as for `coral_loss`, on the device.

        Returns:
            The mean loss before the step, a scalar on the device.

        Raises:
            DeviceError: a single photo does not fit into the memory.
        """
        self._network.train()
        loss = within_memory(self._learned_at_once, len(photos), partial(self._compute_gradients, photos, levels))
        torch.nn.utils.clip_grad_norm_(self._trained, self._config.max_gradient_norm)
        self._optimiser.step()
        self._network.head.order_biases()
        return loss

    @torch.inference_mode()
    def predict(self, photos: Tensor) -> Tensor:
        """The pooled cumulative probabilities, without recalibration: float32 (n, K) on the CPU.

        Args:
            photos: uint8 (n, 3, 448, 448), on the device.

        Raises:
            DeviceError: a single photo does not fit into the memory.
        """
        self._network.eval()
        return within_memory(
            self._predicted_at_once,
            len(photos),
            lambda at_once: torch.cat([self._cumulative(part).cpu() for part in photos.split(at_once)]),
        )

    def _compute_gradients(self, photos: Tensor, levels: Tensor, at_once: int) -> Tensor:
        """Leaves the gradients of the mean loss of the whole batch, whose photos it processes in parts."""
        self._optimiser.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.device)
        for part, their_levels in zip(photos.split(at_once), levels.split(at_once), strict=True):
            share = len(part) / len(photos)
            part_loss = coral_loss(self._cumulative(part), their_levels) * share
            part_loss.backward()  # adds to the gradients
            loss += part_loss.detach()
        return loss

    def _cumulative(self, photos: Tensor) -> Tensor:
        """(n, 3, 448, 448) to float32 (n, K)."""
        in_half = self._config.mixed_precision and self.device.type == "cuda"
        return pool_patches(logits_of(self._network, photos, in_half=in_half), self._config.pooling)[0]


def logits_of(network: OrdinalVGG16, photos: Tensor, *, in_half: bool) -> Tensor:
    """The logits of the patches: uint8 (n, 3, 448, 448) to float32 (n, 5, K).

    Args:
        network: on the device of the photos.
        photos: also on a CPU.
        in_half: compute the convolutions in bfloat16. The head stays in float32: it sums 25,088 products.
    """
    with torch.autocast(photos.device.type, torch.bfloat16, enabled=in_half):
        features = network.features_of(photos)  # (n*5, C, 7, 7)
    return network.logits_of(features)


def flip(photos: Tensor, flips: Tensor) -> Tensor:
    """Flips photos.

    Args:
        photos: (n, 3, 448, 448).
        flips: bool (n, 2): left-right and top-bottom.
    """
    left_right, top_bottom = flips.view(-1, 2, 1, 1, 1).unbind(1)  # (n, 1, 1, 1) each
    photos = torch.where(left_right, photos.flip(3), photos)
    return torch.where(top_bottom, photos.flip(2), photos)
