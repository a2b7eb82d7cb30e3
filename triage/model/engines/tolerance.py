"""How far an engine's logits may be from exact ones, measured with the loaded model on pictures that strain it.

Axes: n photos, 5 patches, K outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from triage.model.patches import PATCH_SIDE, PHOTO_SIDE

SAFETY: Final = 4
"""The tolerance is this multiple of the largest error on the pictures, because other photos may have larger errors."""

ROUNDING: Final = 1e-4
"""The smallest tolerance, in the unit of `Tolerance.scale`: float32 itself rounds by up to a tenth of it."""

LARGEST: Final = 0.05
"""Above this scale, enough photos are scored twice that exact passes alone are as fast."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest error of a finite logit x: scale * (1 + |x|). Rounding errors grow with the values."""

    scale: float = 0.0

    def of(self, logits: Tensor) -> Tensor:
        """The largest error of each logit, with the shape of `logits`."""
        return self.scale * (1 + logits.abs())


EXACT: Final = Tolerance()


def tolerance_for(found: Iterable[Tensor], exact: Tensor) -> Tolerance | None:
    """The tolerance of an engine, from its logits of the pictures.

    Args:
        found: each float32 (m * n, 5, K): m times the logits of the n pictures, as computed in batches of some size.
        exact: float32 (n, 5, K).

    Returns:
        `EXACT` if all logits are equal; None if the tolerance would be too large, or a logit is not finite.
    """
    largest = 0.0
    for logits in found:
        error = (logits - exact.repeat(len(logits) // len(exact), 1, 1)).abs() / (1 + logits.abs())
        largest = max(largest, float(error.nan_to_num(torch.inf).max()))
    if largest == 0:
        return EXACT
    scale = max(ROUNDING, SAFETY * largest)
    return Tolerance(scale) if scale <= LARGEST else None


def draw_pictures() -> Tensor:
    """Eight pictures, each as large as a patch, in the corners of two photos: uint8 (2, 3, 448, 448).

    Noise, black, white, stripes and squares of a pixel, blocks, and light and dark areas as smooth as skin.
    """
    random = torch.Generator().manual_seed(0)
    side = torch.arange(PATCH_SIDE)
    noise = torch.randint(0, 256, (3, PATCH_SIDE, PATCH_SIDE), dtype=torch.uint8, generator=random)
    pictures = [
        noise,
        torch.zeros_like(noise),
        torch.full_like(noise, 255),
        (side % 2 * 255).byte().expand_as(noise),
        ((side[:, None] + side) % 2 * 255).byte().expand_as(noise),
        noise[:, ::28, ::28].repeat_interleave(28, dim=1).repeat_interleave(28, dim=2),
        _draw_skin((224, 172, 150), random),
        _draw_skin((92, 58, 44), random),
    ]
    photos = torch.empty(2, 3, PHOTO_SIDE, PHOTO_SIDE, dtype=torch.uint8)
    for index, picture in enumerate(pictures):
        top, left = (PATCH_SIDE * bit for bit in divmod(index % 4, 2))
        photos[index // 4, :, top : top + PATCH_SIDE, left : left + PATCH_SIDE] = picture
    return photos


def _draw_skin(colour: tuple[int, int, int], random: torch.Generator) -> Tensor:
    coarse = torch.randn(1, 1, 7, 7, generator=random) * 20
    shades = torch.nn.functional.interpolate(coarse, (PATCH_SIDE, PATCH_SIDE), mode="bicubic")[0]  # (1, 224, 224)
    fine = torch.randn(1, PATCH_SIDE, PATCH_SIDE, generator=random) * 3
    return (torch.tensor(colour)[:, None, None] + shades + fine).clamp(0, 255).byte()  # (3, 224, 224)
