"""VGG16 with an ordinal head, over the five patches of a photo.

Jeong et al. 2024, Image Quality Assessment Using Convolutional Neural Network in Clinical Skin Images,
doi:10.1016/j.xjidi.2024.100285. The head and its loss: Cao, Mirjalili, Raschka 2020, Rank consistent ordinal
regression, doi:10.1016/j.patrec.2020.11.008.

Axes: N photos, 5 patches, K cumulative outputs (one for each reviewer).
"""

from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models import vgg

from triage.domain.card import Head, Pooling
from triage.model.patches import N_PATCHES, five_patches

N_FEATURES: Final = 512 * 7 * 7

# torchvision's VGG16_Weights.IMAGENET1K_V1 were trained on inputs in 0..1, normalised so
_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class CoralHead(nn.Module):
    """One shared weight vector and K biases, so that the cumulative probabilities cannot cross while biases descend."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_features).normal_(std=n_features**-0.5))
        # Prior odds of K evenly spread ranks: the first output is likely, the last is not.
        self.bias = nn.Parameter(torch.linspace(1.0, -1.0, n_outputs))

    def forward(self, features: Tensor) -> Tensor:
        return (features @ self.weight).unsqueeze(-1) + self.bias  # (..., F) -> (..., 1) -> (..., K)

    @torch.no_grad()
    def order_biases(self) -> None:
        """Sorts the biases downwards. By the proof of theorem 1 of CORAL that never raises the loss."""
        self.bias.copy_(self.bias.sort(descending=True).values)


class IndependentHead(nn.Linear):
    """K outputs with a weight vector each, for comparison: their cumulative probabilities may cross."""

    def order_biases(self) -> None:
        """Nothing is shared, so no order of biases could keep the outputs from crossing."""


class OrdinalVGG16(nn.Module):
    """The 13 convolutions of VGG16, then an ordinal head on the flattened features of each patch."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_outputs: int = 4, head: Head = "coral") -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs["D"], batch_norm=False)
        self.head: CoralHead | IndependentHead = (
            CoralHead(N_FEATURES, n_outputs) if head == "coral" else IndependentHead(N_FEATURES, n_outputs)
        )
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1) * 255, persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        """The logits of each patch of each photo.

        Args:
            photos: uint8 (N, 3, 448, 448), RGB, upright.

        Returns:
            float32 (N, 5, K): logits of P(votes >= 1) ... P(votes >= K).
        """
        x = self.normalised_patches(photos)  # (N*5, 3, 224, 224)
        # the convolutions, and they alone, may be in half precision
        x = x.to(self.features[0].weight.dtype, memory_format=torch.channels_last)
        return self.logits_of(self.features(x))  # (N*5, 512, 7, 7) -> (N, 5, K)

    def normalised_patches(self, photos: Tensor) -> Tensor:
        """What the convolutions take: uint8 (N, 3, 448, 448) to float32 (N*5, 3, 224, 224)."""
        patches = five_patches(photos)  # (N, 5, 3, 224, 224) uint8
        return (patches.flatten(0, 1) - self.mean) / self.std  # (N*5, 3, 224, 224) float32

    def logits_of(self, features: Tensor) -> Tensor:
        """What the head makes of the convolutions' output: (N*5, 512, 7, 7) to float32 (N, 5, K)."""
        logits: Tensor = self.head(features.flatten(1).float())  # (N*5, 25088) -> (N*5, K)
        return logits.view(-1, N_PATCHES, logits.shape[-1])  # (N, 5, K)

    def freeze_convolutions(self, n: int) -> None:
        """Keeps the first n convolutions as they are while the rest is trained. The paper freezes five."""
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)]
        for convolution in convolutions[:n]:
            convolution.requires_grad_(False)


def pool_patches(logits: Tensor, pooling: Pooling = "mean") -> tuple[Tensor, Tensor]:
    """Pools the cumulative probabilities of a photo's patches.

    Args:
        logits: (N, 5, K).
        pooling: their mean, or their smallest: the photo is as good as its worst patch.

    Returns:
        The photos' cumulative probabilities (N, K) and the patches' (N, 5, K), both in [0, 1].
    """
    patches = logits.sigmoid()  # (N, 5, K)
    return patches.mean(dim=1) if pooling == "mean" else patches.amin(dim=1), patches


def draw_network(seed: int, n_outputs: int = 4, head: Head = "coral") -> OrdinalVGG16:
    """A network with random weights of a fixed seed, scaled so that photos get different scores."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OrdinalVGG16(n_outputs, head)
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network.eval()
