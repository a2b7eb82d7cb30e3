"""CONTRIQUE's objective: photos with the same degradation, and the two scales of a photo, get similar features.

Madhusudana et al. 2022, Image Quality Assessment Using Contrastive Learning, doi:10.1109/TIP.2022.3181496. Its network
is a ResNet; here it is VGG16, whose convolutions are what a training starts from afterwards.

Axes: n photos of a batch, 4 views of each (the photo and a degraded copy, at two scales), M = 4n views, D = 128.
"""

from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from triage.model.engines.batch_size import LARGEST_BATCH, BatchSize
from triage.model.network import OrdinalVGG16
from triage.training.config import PretrainingConfig
from triage.training.memory import within_memory

_EMBEDDING: Final = 128


class ContrastiveNetwork(nn.Module):
    """The convolutions of a network, and a projection that is dropped after the pretraining."""

    def __init__(self, network: OrdinalVGG16) -> None:
        super().__init__()
        self.network = network
        self.projection = nn.Sequential(
            nn.Linear(network.n_channels, network.n_channels), nn.ReLU(), nn.Linear(network.n_channels, _EMBEDDING)
        )

    def embed(self, patches: Tensor, *, in_half: bool) -> Tensor:
        """The unit vectors that the loss compares: uint8 (M, 3, 224, 224) to float32 (M, D).

        Args:
            patches: on the device of the network.
            in_half: compute the convolutions in bfloat16.
        """
        with torch.autocast(patches.device.type, torch.bfloat16, enabled=in_half):
            features = self.network.features_of_patches(patches)  # (M, C, 7, 7)
        return functional.normalize(self.projection(features.float().mean(dim=(2, 3))), dim=1)  # (M, C) -> (M, D)


def contrastive_loss(embeddings: Tensor, classes: Tensor, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross entropy (NT-Xent) with all views of a class as positives.

    For each view, the mean over its positives of -log(exp(s / t) / sum over all other views of exp(s / t)), where s is
    the cosine similarity.

    Args:
        embeddings: float32 (M, D), unit vectors.
        classes: int64 (M,); each class has two views or more.
        temperature: t.

    Returns:
        The mean over the views.

    >>> same = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    >>> round(contrastive_loss(same, torch.tensor([0, 0, 1, 1]), 1.0).item(), 3)  # log(e + 2) - 1
    0.551
    """
    itself = torch.eye(len(classes), dtype=torch.bool, device=classes.device)  # (M, M)
    similarity = (embeddings @ embeddings.T / temperature).masked_fill(itself, -torch.inf)  # (M, M)
    log_share = similarity.log_softmax(dim=1)
    positive = (classes[:, None] == classes[None, :]) & ~itself
    per_view = -log_share.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)  # (M,)
    return per_view.mean()


class ContrastivePasses:
    """A network that learns from views.

    The loss compares all views of a batch. If the memory of a card is full, they are embedded in parts, twice: without
    gradients for the loss, then with them. The step is the same, up to rounding.
    """

    def __init__(
        self, network: ContrastiveNetwork, optimiser: torch.optim.Optimizer, config: PretrainingConfig
    ) -> None:
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
        self._in_half = config.mixed_precision and self.device.type == "cuda"
        self._trained = [weights for weights in network.parameters() if weights.requires_grad]
        self._at_once = BatchSize(LARGEST_BATCH)

    def learn(self, views: Tensor, classes: Tensor) -> Tensor:
        """One step of the optimiser.

        Args:
            views: uint8 (n, 4, 3, 224, 224), on the device.
            classes: int64 (n, 4), on the device.

        Returns:
            The loss before the step, a scalar on the device.

        Raises:
            DeviceError: the views of a single photo do not fit into the memory.
        """
        self._network.train()
        loss = within_memory(self._at_once, len(views), partial(self._compute_gradients, views, classes.flatten()))
        torch.nn.utils.clip_grad_norm_(self._trained, self._config.max_gradient_norm)
        self._optimiser.step()
        return loss

    def _compute_gradients(self, views: Tensor, classes: Tensor, at_once: int) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        parts = [part.flatten(0, 1) for part in views.split(at_once)]  # (at_once * 4, 3, 224, 224) each
        if len(parts) == 1:
            loss = contrastive_loss(self._embed(parts[0]), classes, self._config.temperature)
            loss.backward()
            return loss.detach()
        with torch.no_grad():
            embedded = torch.cat([self._embed(part) for part in parts])  # (M, D)
        embedded.requires_grad_()
        loss = contrastive_loss(embedded, classes, self._config.temperature)
        [gradients] = torch.autograd.grad(loss, embedded)  # (M, D)
        for part, gradient in zip(parts, gradients.split([len(part) for part in parts]), strict=True):
            self._embed(part).backward(gradient)  # adds to the gradients
        return loss.detach()

    def _embed(self, patches: Tensor) -> Tensor:
        return self._network.embed(patches, in_half=self._in_half)
