"""The teacher: SqueezeNet v1.0 trained on ImageNet. Not part of the product.

Iandola et al. 2016, SqueezeNet, arXiv:1602.07360.
"""

from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_MEAN_BGR: Final = (104.0, 117.0, 123.0)


class SqueezeNet:
    """The responses of SqueezeNet's layers to RGB photos, float32 (N, 3, H, W) in 0..255."""

    def __init__(self, archive: Path, device: torch.device) -> None:
        """
        Args:
            archive: `.npz` with arrays `conv1/w`, `conv1/b`, `fire2/conv1x1_1/w` and so on.
        """
        arrays = np.load(archive)
        self._weights = {name: torch.from_numpy(arrays[name]).float().to(device) for name in arrays.files}
        self._mean = torch.tensor(_MEAN_BGR, device=device).view(3, 1, 1)

    def dense_filters(self, photos: Tensor) -> Tensor:
        """The 96 filters of the first layer at each pixel, before ReLU: (N, 96, H, W)."""
        return F.conv2d(self._prepare(photos), self._weights["conv1/w"], self._weights["conv1/b"], padding=3)

    def layers(self, photos: Tensor) -> dict[str, Tensor]:
        """The layers that the student learns, after ReLU.

        Returns:
            `squeeze2`, `expand2` to `expand7`, `pool8` (the eighth module, max pooled) and `expand9`.
        """
        x = F.relu(F.conv2d(self._prepare(photos), self._weights["conv1/w"], self._weights["conv1/b"], stride=2))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        responses: dict[str, Tensor] = {}
        for module in range(2, 10):
            squeezed = self._conv(x, f"fire{module}/conv1x1_1")
            x = torch.cat(
                [
                    self._conv(squeezed, f"fire{module}/conv1x1_2"),
                    self._conv(squeezed, f"fire{module}/conv3x3_2", padding=1),
                ],
                dim=1,
            )
            if module == 2:
                responses["squeeze2"] = squeezed
            if module != 8:
                responses[f"expand{module}"] = x
            if module in {4, 8}:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            if module == 8:
                responses["pool8"] = x
        return responses

    def _conv(self, x: Tensor, name: str, padding: int = 0) -> Tensor:
        return F.relu(F.conv2d(x, self._weights[f"{name}/w"], self._weights[f"{name}/b"], padding=padding))

    def _prepare(self, photos: Tensor) -> Tensor:
        return photos.flip(1) - self._mean  # RGB -> BGR
