"""Detects skin by colour ratios, which all skin tones share, and measures how it is framed."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.findings.light import GRID, Array, patch_windows

_BLOCK: Final = 8  # 14 x 14 blocks
_EDGE: Final = 2  # blocks


@dataclass(frozen=True, slots=True)
class SkinColour:
    """Logistic regression on log ratios of colours; independent of brightness.

    Attributes:
        weights: coefficients of 1, r, b, r^2, b^2 and r*b, where r = log(red / green) and b = log(green / blue).
    """

    weights: tuple[float, ...]

    def probability(self, ratios: Array) -> Array:
        """Returns the probability of skin, 0..1, from `colour_ratios`: (2, ...) -> (...)."""
        red, blue = ratios
        w = [np.float32(weight) for weight in self.weights]
        logit = w[0] + (w[1] + w[3] * red) * red + (w[2] + w[4] * blue + w[5] * red) * blue
        probability: Array = 1 / (1 + np.exp(-logit.clip(-30, 30)))
        return probability


def colour_ratios(colours: Array) -> Array:
    """Returns log(red / green) and log(green / blue), clipped to -1..1.5: (..., 3) -> (2, ...)."""
    red, green, blue = np.moveaxis(np.log(colours + 4), -1, 0)  # + 4 keeps noise in dark areas from counting as colour
    return np.stack([red - green, green - blue]).clip(-1, 1.5)


def describe_skin(colours: Array, skin_colour: SkinColour) -> dict[str, float]:
    """Computes measures of the amount and position of skin.

    Args:
        colours: (112, 112, 3), sRGB, 0..255.
        skin_colour: the fitted skin colour model.

    Returns:
        `skin`: mean probability; `skin_centre`: mean in the centre patch; `skin_fullest`, `skin_emptiest`: mean in the
        patches with most and least skin; `skin_edge`: mean along the border; `skin_off_centre`: distance between the
        centroid of skin and the photo's centre, in half sides; `skin_contrast`: standard deviation between blocks;
        `skin_isolated`: the window of 1/5 of the side with most skin minus the rest; `diversity`: log spread of colour
        ratios, small on skin of any tone in any light; `block_diversity`: the same between blocks.
    """
    ratios = colour_ratios(colours)  # (2, 112, 112)
    probability = skin_colour.probability(ratios)
    n = GRID // _BLOCK
    blocks = probability.reshape(n, _BLOCK, n, _BLOCK).mean(axis=(1, 3))  # (14, 14)
    total = float(blocks.sum()) + 1e-3
    places = (np.arange(n) + 0.5) / n * 2 - 1
    off_y, off_x = float(blocks.sum(axis=1) @ places) / total, float(blocks.sum(axis=0) @ places) / total
    patches = [float(window.mean()) for window in patch_windows(probability)]
    inner = blocks[_EDGE:-_EDGE, _EDGE:-_EDGE]
    edge = (float(blocks.sum()) - float(inner.sum())) / (blocks.size - inner.size)
    spread = float(ratios.std(axis=(1, 2)).sum())
    block_ratios = ratios.reshape(2, n, _BLOCK, n, _BLOCK).mean(axis=(2, 4))  # (2, 14, 14)
    return {
        "skin": float(blocks.mean()),
        "skin_centre": patches[4],
        "skin_fullest": max(patches),
        "skin_emptiest": min(patches),
        "skin_edge": edge,
        "skin_off_centre": float(np.hypot(off_y, off_x)),
        "skin_contrast": float(blocks.std()),
        "skin_isolated": _isolated(blocks),
        "diversity": float(np.log(spread + 0.02)),
        "block_diversity": float(np.log(float(block_ratios.std(axis=(1, 2)).sum()) + 0.02)),
    }


def _isolated(blocks: NDArray[np.float32], side: int = 3) -> float:
    """Returns the mean of the window with most skin minus the mean of the rest."""
    sums = np.zeros((blocks.shape[0] + 1, blocks.shape[1] + 1), np.float64)
    sums[1:, 1:] = blocks.cumsum(axis=0).cumsum(axis=1)
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    best = float(windows.max())
    rest = (float(blocks.sum()) - best) / (blocks.size - side * side)
    return best / (side * side) - rest
