"""VGG16 with an ordinal head, over the five patches of a photo.

Jeong et al. 2024, Image Quality Assessment Using Convolutional Neural Network in Clinical Skin Images,
doi:10.1016/j.xjidi.2024.100285.

Axes: N photos, 5 patches, C channels of the last convolution (512 in VGG16), K outputs (one for each reviewer).
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models import vgg

from triage.domain.architecture import N_BLOCKS, VGG16_LAYERS, Layers, architecture_of
from triage.domain.card import Head, Pooling, Recalibration
from triage.model.coral import CoralHead, IndependentHead
from triage.model.patches import N_PATCHES, PATCH_SIDE, five_patches

FEATURE_SIDE: Final = PATCH_SIDE // 2**N_BLOCKS  # 7

_SAMPLED_SIDE: Final = 28
_SILENT: Final = 0.01

# of torchvision's VGG16_Weights.IMAGENET1K_V1, for inputs in 0..1
_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class OrdinalVGG16(nn.Module):
    """The convolutions of VGG16, then an ordinal head on the flattened features of each patch."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_outputs: int = 4, head: Head = "coral", layers: Layers = VGG16_LAYERS) -> None:
        """
        Args:
            n_outputs: K.
            head: with one weight vector, or one for each output.
            layers: channels of the convolutions; VGG16's 13 convolutions by default, fewer or narrower ones for
                tests and experiments.
        """
        super().__init__()
        self.layers = layers
        self.n_channels = layers[-1][-1]
        configuration: list[str | int] = []
        for block in layers:
            configuration += [*block, "M"]
        self.features = vgg.make_layers(configuration, batch_norm=False)
        n_features = self.n_channels * FEATURE_SIDE**2
        self.head: CoralHead | IndependentHead = (
            CoralHead(n_features, n_outputs) if head == "coral" else IndependentHead(n_features, n_outputs)
        )
        self.reasons: ReasonLayer | None = None
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1) * 255, persistent=False)

    @property
    def architecture(self) -> str:
        """The name of the network on its card."""
        return architecture_of(self.layers)

    def forward(self, photos: Tensor) -> Tensor:
        """The logits of each patch of each photo.

        Args:
            photos: uint8 (N, 3, 448, 448), RGB, upright.

        Returns:
            float32 (N, 5, K): logits of P(votes >= 1) ... P(votes >= K). With a layer of R reasons (N, 5, K + R): then
            what each patch adds to the logit of each reason.
        """
        if self.reasons is None:
            return self.logits_of(self.features_of(photos))  # (N*5, C, 7, 7) -> (N, 5, K)
        return self.outputs_of(self.blocks_of(photos))  # -> (N, 5, K + R)

    def features_of(self, photos: Tensor) -> Tensor:
        """The output of the convolutions: uint8 (N, 3, 448, 448) to (N*5, C, 7, 7)."""
        return self.features_of_patches(five_patches(photos).flatten(0, 1))  # (N, 5, 3, 224, 224) -> (N*5, C, 7, 7)

    def features_of_patches(self, patches: Tensor) -> Tensor:
        """The output of the convolutions for patches of any photos: uint8 (P, 3, 224, 224) to (P, C, 7, 7)."""
        x = (patches - self.mean) / self.std  # (P, 3, 224, 224) float32
        # only the convolutions may be in half precision
        x = x.to(self.features[0].weight.dtype, memory_format=torch.channels_last)
        features: Tensor = self.features(x)  # (P, C, 7, 7)
        return features

    def blocks_of(self, photos: Tensor) -> list[Tensor]:
        """The sampled output of each block, see `sample_block`; the last one is that of `features_of`."""
        x = self.normalised_patches(photos)  # (N*5, 3, 224, 224)
        x = x.to(self.features[0].weight.dtype, memory_format=torch.channels_last)
        blocks = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                blocks.append(sample_block(x))
        return blocks

    def outputs_of(self, blocks: Sequence[Tensor]) -> Tensor:
        """The outputs of `forward` for a network with a layer of reasons, from the sampled blocks."""
        logits = self.logits_of(blocks[-1])  # (N*5, C, 7, 7) -> (N, 5, K)
        if self.reasons is None:
            return logits
        reasons = self.reasons(statistics_of(blocks)).view(len(logits), N_PATCHES, -1)  # (N*5, R) -> (N, 5, R)
        return torch.cat([logits, reasons], dim=2)  # (N, 5, K + R)

    def normalised_patches(self, photos: Tensor) -> Tensor:
        """The input of the convolutions: uint8 (N, 3, 448, 448) to float32 (N*5, 3, 224, 224)."""
        patches = five_patches(photos)  # (N, 5, 3, 224, 224) uint8
        return (patches.flatten(0, 1) - self.mean) / self.std  # (N*5, 3, 224, 224) float32

    def logits_of(self, features: Tensor) -> Tensor:
        """The output of the head for the convolutions' output: (N*5, C, 7, 7) to float32 (N, 5, K)."""
        logits: Tensor = self.head(features.flatten(1).float())  # (N*5, C*49) -> (N*5, K)
        return logits.view(-1, N_PATCHES, logits.shape[-1])  # (N*5, K) -> (N, 5, K)

    def freeze_convolutions(self, n: int) -> None:
        """Excludes the first n convolutions from training. The paper freezes five."""
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)]
        for convolution in convolutions[:n]:
            convolution.requires_grad_(False)


class ReasonLayer(nn.Linear):
    """What each patch adds to the logit of each reason why a photo fails: a linear map of the patch's statistics.

    The rest of each logit, from measures of the whole photo, is on the model's card (`triage.domain.reasons`).
    """

    def __init__(self, layers: Layers, n_reasons: int) -> None:
        super().__init__(2 * sum(block[-1] for block in layers), n_reasons)


def sample_block(block: Tensor) -> Tensor:
    """Takes every n-th row and column of a block's output, so that at most 28 remain: (N*5, C, h, w)."""
    step = sampling_step(block.shape[-1])
    return block[:, :, ::step, ::step]


def sampling_step(side: int) -> int:
    """The n of `sample_block`: more positions would cost time and hardly change the statistics."""
    return max(1, side // _SAMPLED_SIDE)


def statistics_of(blocks: Sequence[Tensor]) -> Tensor:
    """The mean and the standard deviation of each channel of each sampled block: float32 (N*5, 2 * sum of C).

    As logarithms, because blur, exposure and compression scale them; the offset keeps silent channels finite.
    """
    parts = []
    for block in blocks:
        values = block.float()
        mean = values.mean(dim=(2, 3))  # (N*5, C, h, w) -> (N*5, C)
        variance = values.square().mean(dim=(2, 3)) - mean.square()
        parts += [mean, variance.clamp(min=0).sqrt()]
    return (torch.cat(parts, dim=1) + _SILENT).log()


def pool_patches(logits: Tensor, pooling: Pooling = "mean") -> tuple[Tensor, Tensor]:
    """Pools the cumulative probabilities of a photo's patches.

    Args:
        logits: (N, 5, K).
        pooling: their mean, or their minimum: the photo is as good as its worst patch.

    Returns:
        The photos' cumulative probabilities (N, K) and the patches' (N, 5, K), both in [0, 1].
    """
    patches = logits.sigmoid()  # (N, 5, K)
    return patches.mean(dim=1) if pooling == "mean" else patches.amin(dim=1), patches  # (N, 5, K) -> (N, K)


def probabilities_of(
    logits: Tensor, pooling: Pooling = "mean", recalibration: Recalibration | None = None
) -> tuple[Tensor, Tensor]:
    """The probabilities that a model states: pooled, recalibrated and in order. The only place that does this.

    Args:
        logits: (N, 5, K).
        pooling: as for `pool_patches`.
        recalibration: of every probability, of photos and of patches.

    Returns:
        The photos' (N, K), which never rise from one output to the next, and the patches' (N, 5, K).
    """
    cumulative, patches = pool_patches(logits, pooling)
    if recalibration is not None:
        cumulative, patches = (_recalibrated(p, recalibration) for p in (cumulative, patches))
    return cumulative.cummin(dim=1).values, patches  # (N, K); equal ones may differ by rounding


def _recalibrated(probabilities: Tensor, recalibration: Recalibration) -> Tensor:
    """(..., K) to (..., K)."""
    logits = torch.logit(probabilities.double(), eps=1e-12)
    intercepts = torch.tensor(recalibration.intercepts, dtype=torch.float64)  # (K,)
    return torch.sigmoid(recalibration.slope * logits + intercepts).float()


def draw_network(seed: int, n_outputs: int = 4, head: Head = "coral", layers: Layers = VGG16_LAYERS) -> OrdinalVGG16:
    """A network with random weights, scaled so that photos get different scores; a seed always gives the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OrdinalVGG16(n_outputs, head, layers)
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network.eval()
