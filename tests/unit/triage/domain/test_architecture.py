import doctest

import pytest

from triage.domain import architecture
from triage.domain.architecture import VGG16, VGG16_LAYERS, architecture_of, layers_of


def test_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(architecture) == (0, 2)


@pytest.mark.parametrize(
    "layers", [VGG16_LAYERS, ((4,), (8,), (8,), (8,), (8,)), ((8, 8), (16,), (16,), (32,), (512,))]
)
def test_layers_are_read_back_from_the_name(layers: architecture.Layers) -> None:
    assert layers_of(architecture_of(layers)) == layers


def test_only_the_full_network_has_the_name_of_vgg16() -> None:
    narrower = (*VGG16_LAYERS[:-1], (512, 512, 511))

    assert architecture_of(VGG16_LAYERS) == VGG16
    assert architecture_of(narrower) != VGG16


@pytest.mark.parametrize(
    "name",
    [
        "",
        "resnet50",
        "vgg16",
        "vgg-4-8-8-8-five-patch",  # four blocks
        "vgg-0-8-8-8-8-five-patch",
        "vgg-4-8-8-8-513-five-patch",
        "vgg-4-8-8-8--five-patch",
        "vgg-" + ".".join(["1"] * 13) + "-8-8-8-8-five-patch",  # 17 convolutions
    ],
)
def test_unknown_network_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="unknown network"):
        layers_of(name)
