import pytest
import torch
from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from tests.support.narrow_model import draw_narrow_network
from triage.model.engines.tolerance import draw_pictures
from triage.model.network import (
    OrdinalVGG16,
    ReasonLayer,
    draw_network,
    pool_patches,
    sample_block,
    statistics_of,
)


def test_convolutions_are_those_of_torchvisions_vgg16() -> None:
    ours, theirs = OrdinalVGG16().features.state_dict(), vgg16(weights=None).features.state_dict()
    assert OrdinalVGG16().architecture == "vgg16-five-patch"

    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    assert sum(isinstance(layer, nn.Conv2d) for layer in OrdinalVGG16().features) == 13


def test_input_is_normalised_as_torchvision_does_for_its_weights() -> None:
    network = OrdinalVGG16()
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()

    assert (network.mean.flatten() / 255).tolist() == pytest.approx(transforms.mean)
    assert (network.std.flatten() / 255).tolist() == pytest.approx(transforms.std)


def test_each_patch_has_its_own_logits() -> None:
    network = draw_narrow_network(seed=3)
    photo = torch.zeros(1, 3, 448, 448, dtype=torch.uint8)
    photo[:, :, :112, :112] = 200  # inside the first patch only

    with torch.inference_mode():
        [logits] = network(photo)

    assert logits.shape == (5, 4)
    assert not torch.allclose(logits[0], logits[1])
    assert torch.allclose(logits[1], logits[2], atol=1e-5)
    assert torch.allclose(logits[1], logits[3], atol=1e-5)


def test_pooling_takes_the_mean_of_the_patches_probabilities() -> None:
    probabilities = torch.tensor([[[0.9, 0.5], [0.8, 0.4], [0.7, 0.3], [0.6, 0.2], [0.5, 0.1]]])

    photo, patches = pool_patches(probabilities.logit())

    assert photo[0].tolist() == pytest.approx([0.7, 0.3])
    assert torch.allclose(patches, probabilities)


def test_only_the_first_convolutions_are_frozen() -> None:
    network = OrdinalVGG16()
    network.freeze_convolutions(5)

    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.requires_grad for layer in convolutions] == [False] * 5 + [True] * 8
    assert network.head.weight.requires_grad


def test_narrow_network_has_the_shapes_of_its_layers() -> None:
    network = draw_network(seed=3, n_outputs=3, layers=((4, 6), (8,), (8,), (8,), (10,)))

    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [
        (3, 4),
        (4, 6),
        (6, 8),
        (8, 8),
        (8, 8),
        (8, 10),
    ]
    assert network.head.weight.shape == (10 * 7 * 7,)
    assert network.architecture == "vgg-4.6-8-8-8-10-five-patch"
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 448, 448, dtype=torch.uint8)).shape == (2, 5, 3)


def test_network_is_the_same_when_the_seed_is() -> None:
    first, again, other = (draw_narrow_network(seed).state_dict() for seed in (1, 1, 2))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])


def test_statistics_are_logarithms_of_the_mean_and_deviation_of_at_most_28_rows_and_columns() -> None:
    random = torch.Generator().manual_seed(0)
    blocks = [torch.rand(5, 4, 112, 112, generator=random), torch.rand(5, 8, 7, 7, generator=random)]

    found = statistics_of([sample_block(block) for block in blocks])

    sampled = [blocks[0][:, :, ::4, ::4].flatten(2), blocks[1].flatten(2)]
    expected = [part for values in sampled for part in (values.mean(2), values.std(2, correction=0))]
    assert torch.allclose(found, (torch.cat(expected, dim=1) + 0.01).log(), atol=1e-5)


def test_reasons_follow_the_logits_when_the_network_has_a_layer_for_them() -> None:
    network = draw_narrow_network()
    photos = draw_pictures()
    with torch.inference_mode():
        logits = network(photos)
        network.reasons = ReasonLayer(network.layers, 3)
        outputs = network(photos)
        statistics = statistics_of(network.blocks_of(photos))  # (2 * 5, F)

    assert torch.equal(outputs[:, :, :4], logits)
    expected = network.reasons(statistics).view(2, 5, 3)
    assert torch.allclose(outputs[:, :, 4:], expected, atol=1e-6)
    assert outputs[:, :, 4:].std(dim=1).min() > 0  # each patch has its own
