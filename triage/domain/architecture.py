"""Names of network architectures: VGG16, and narrower or shallower networks of the same design."""

import re
from typing import Final, TypeAlias

Layers: TypeAlias = tuple[tuple[int, ...], ...]
"""The number of output channels of each 3 x 3 convolution, by block. A 2 x 2 max pooling ends each block."""

N_BLOCKS: Final = 5
"""Each block halves height and width: patches of 224 x 224 become features of 7 x 7."""

VGG16_LAYERS: Final[Layers] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
VGG16: Final = "vgg16-five-patch"

_OTHER: Final = re.compile(r"vgg-(\d{1,3}(?:[.-]\d{1,3})*)-five-patch")
_MAX_CHANNELS: Final = 512
_MAX_CONVOLUTIONS: Final = 16


def architecture_of(layers: Layers) -> str:
    """Returns the name of the network with these layers.

    >>> architecture_of(VGG16_LAYERS)
    'vgg16-five-patch'
    >>> architecture_of(((4, 4), (8,), (8,), (8,), (8,)))
    'vgg-4.4-8-8-8-8-five-patch'
    """
    if layers == VGG16_LAYERS:
        return VGG16
    return f"vgg-{'-'.join('.'.join(map(str, block)) for block in layers)}-five-patch"


def layers_of(architecture: str) -> Layers:
    """Returns the layers of a named network.

    Raises:
        ValueError: the name is unknown or malformed, or a limit on convolutions or channels is exceeded.
    """
    if architecture == VGG16:
        return VGG16_LAYERS
    if match := _OTHER.fullmatch(architecture):
        layers = tuple(tuple(map(int, block.split("."))) for block in match[1].split("-"))
        widths = [width for block in layers for width in block]
        if (
            len(layers) == N_BLOCKS
            and len(widths) <= _MAX_CONVOLUTIONS
            and 1 <= min(widths) <= max(widths) <= _MAX_CHANNELS
        ):
            return layers
    raise ValueError(f"unknown network {architecture!r}")
