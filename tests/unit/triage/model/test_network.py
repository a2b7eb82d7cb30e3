import math

import pytest
import torch
from torch import nn
from torchvision.models import VGG16_Weights, vgg16

from triage.model.network import N_FEATURES, CoralHead, OrdinalVGG16, draw_network, pool_patches
from triage.training.loop import coral_loss


def test_convolutions_are_those_of_torchvisions_vgg16() -> None:
    ours, theirs = OrdinalVGG16().features.state_dict(), vgg16(weights=None).features.state_dict()

    assert {name: tensor.shape for name, tensor in ours.items()} == {
        name: tensor.shape for name, tensor in theirs.items()
    }
    assert sum(isinstance(layer, nn.Conv2d) for layer in OrdinalVGG16().features) == 13


def test_input_is_normalised_as_torchvision_does_for_its_weights() -> None:
    network = OrdinalVGG16()
    transforms = VGG16_Weights.IMAGENET1K_V1.transforms()

    assert (network.mean.flatten() / 255).tolist() == pytest.approx(transforms.mean)
    assert (network.std.flatten() / 255).tolist() == pytest.approx(transforms.std)


def test_network_gives_each_patch_its_own_logits() -> None:
    network = draw_network(seed=3)
    photo = torch.zeros(1, 3, 448, 448, dtype=torch.uint8)
    photo[:, :, :112, :112] = 200  # lies in the first patch alone

    with torch.inference_mode():
        [logits] = network(photo)

    assert logits.shape == (5, 4)
    assert not torch.allclose(logits[0], logits[1])
    assert torch.allclose(logits[1], logits[2], atol=1e-5)
    assert torch.allclose(logits[1], logits[3], atol=1e-5)


def test_head_gives_exact_logits_when_its_weights_are_set_by_hand() -> None:
    head = CoralHead(3, 4)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        head.bias.copy_(torch.tensor([2.0, 1.0, 0.0, -1.0]))

    logits = head(torch.tensor([[1.0, 1.0, 4.0], [0.0, 0.0, 0.0]]))

    assert logits.tolist() == [[3.0, 2.0, 1.0, 0.0], [2.0, 1.0, 0.0, -1.0]]


def test_pooling_is_the_mean_of_the_patches_probabilities() -> None:
    probabilities = torch.tensor([[[0.9, 0.5], [0.8, 0.4], [0.7, 0.3], [0.6, 0.2], [0.5, 0.1]]])

    photo, patches = pool_patches(probabilities.logit())

    assert photo[0].tolist() == pytest.approx([0.7, 0.3])
    assert torch.allclose(patches, probabilities)


def test_sorting_the_biases_does_not_raise_the_loss() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(50):
        signals = torch.randn(16, 5, 1, generator=random)
        votes = torch.randint(0, 5, (16,), generator=random)
        biases = torch.randn(4, generator=random)
        before = coral_loss(signals + biases, votes)
        after = coral_loss(signals + biases.sort(descending=True).values, votes)
        assert after <= before + 1e-6


def test_only_the_first_convolutions_are_frozen() -> None:
    network = OrdinalVGG16()
    network.freeze_convolutions(5)

    convolutions = [layer for layer in network.features if isinstance(layer, nn.Conv2d)]
    assert [layer.weight.requires_grad for layer in convolutions] == [False] * 5 + [True] * 8
    assert network.head.weight.requires_grad


def test_fresh_head_is_near_its_prior() -> None:
    head = CoralHead(N_FEATURES, 4)

    probabilities = head(torch.zeros(N_FEATURES)).sigmoid()

    assert probabilities.tolist() == pytest.approx([1 / (1 + math.exp(-b)) for b in (1, 1 / 3, -1 / 3, -1)])
