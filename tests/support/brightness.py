"""A network that judges photos by their brightness, which trains in milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from triage.dataset.manifest import LabelledPhoto
from triage.model.coral import CoralHead
from triage.model.patches import five_patches
from triage.training.photos import PhotoSet


class BrightnessNetwork(nn.Module):
    """A real CORAL head over each patch's mean brightness."""

    architecture = "brightness"

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(1, 1, 1)  # replaces the frozen convolutions
        self.head = CoralHead(1, 4)

    def features_of(self, photos: Tensor) -> Tensor:
        return five_patches(photos).float().mean(dim=(2, 3, 4)) / 255  # (N, 5)

    def logits_of(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features.unsqueeze(-1))  # (N, 5) -> (N, 5, K)
        return logits

    def freeze_convolutions(self, n: int) -> None:
        self.convolution.requires_grad_(n == 0)


def grey_photos(brightness: Sequence[int], votes: Sequence[int]) -> PhotoSet:
    """Photos of one colour."""
    photos = torch.stack([torch.full((3, 448, 448), value, dtype=torch.uint8) for value in brightness])
    return PhotoSet(photos, [LabelledPhoto(Path(), vote) for vote in votes])


EIGHT_PHOTOS = grey_photos([0, 20, 60, 120, 130, 180, 220, 255], [0, 0, 1, 2, 2, 3, 4, 4])
