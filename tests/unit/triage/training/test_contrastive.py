"""The loss against sums written out, and a step in parts against a step at once."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.support.narrow_model import draw_narrow_network
from triage.training import contrastive
from triage.training.config import PretrainingConfig
from triage.training.contrastive import ContrastiveNetwork, ContrastivePasses, contrastive_loss
from triage.training.sgd import Sgd


def test_loss_is_that_of_the_paper() -> None:
    embeddings = functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    classes, temperature = torch.tensor([0, 0, 1, 1, 0, 2, 2]), 0.1
    expected = 0.0
    for i in range(7):
        others = [k for k in range(7) if k != i]
        total = sum(math.exp(float(embeddings[i] @ embeddings[k]) / temperature) for k in others)
        positives = [k for k in others if classes[k] == classes[i]]
        shares = [math.exp(float(embeddings[i] @ embeddings[k]) / temperature) / total for k in positives]
        expected -= sum(map(math.log, shares)) / len(positives) / 7

    assert float(contrastive_loss(embeddings, classes, temperature)) == pytest.approx(expected, rel=1e-5)


def test_step_is_the_same_when_the_views_are_embedded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = _weights_after_a_step()
    monkeypatch.setattr(contrastive, "LARGEST_BATCH", 2)

    in_parts = _weights_after_a_step()

    assert at_once.keys() == in_parts.keys()
    for name, weights in at_once.items():
        torch.testing.assert_close(in_parts[name], weights, rtol=1e-4, atol=1e-6)


def test_loss_falls_when_a_batch_is_learned_repeatedly() -> None:
    network, config = _network(), PretrainingConfig(learning_rate=0.1)
    passes = ContrastivePasses(network, Sgd(network, config), config)
    views, classes = _batch()

    losses = [float(passes.learn(views, classes)) for _ in range(5)]

    assert losses[-1] < 0.95 * losses[0]


def _network() -> ContrastiveNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ContrastiveNetwork(draw_narrow_network())
    network.network.head.requires_grad_(False)
    return network


def _batch() -> tuple[Tensor, Tensor]:
    """Four photos, of which two share a degradation."""
    random = torch.Generator().manual_seed(1)
    views = torch.stack(
        [
            torch.randint(
                0, 1 + 60 * (1 + photo) // (1 + view // 2), (3, 224, 224), generator=random, dtype=torch.uint8
            )
            for photo, view in product(range(4), range(4))
        ]
    ).view(4, 4, 3, 224, 224)
    return views, torch.tensor([[10, 10, 0, 0], [11, 11, 0, 0], [12, 12, 1, 1], [13, 13, 1, 1]])


def _weights_after_a_step() -> dict[str, Tensor]:
    network = _network()
    config = PretrainingConfig()
    ContrastivePasses(network, Sgd(network, config), config).learn(*_batch())
    return {name: weights.clone() for name, weights in network.state_dict().items()}
