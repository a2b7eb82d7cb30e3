"""A network of VGG16's kind that is a hundred thousand times cheaper: for tests of everything but VGG16 itself.

It has VGG16's blocks with one convolution of 4 or 8 channels each, random weights, and a card that says so
(`vgg-4-8-8-8-8-five-patch`). Photos get different scores. Where a test needs an artifact:

    card = write_narrow_model(tmp_path / "model", name="candidate", threshold=0.4)
    registry.add_folder(tmp_path / "model", actor="test")

As the start of a training run (`init` is the folder), it makes the run train a narrow network too.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch

from triage.domain.architecture import Layers
from triage.domain.card import Card, Head
from triage.domain.reasons import SCORE, Reason, ReasonHead
from triage.domain.states import FindingKind
from triage.model.artifact import bind_card, write_artifact
from triage.model.network import OrdinalVGG16, ReasonLayer, draw_network
from triage.model.weights import weights_of

NARROW: Final[Layers] = ((4,), (8,), (8,), (8,), (8,))


def draw_narrow_network(seed: int = 1, n_outputs: int = 4, head: Head = "coral") -> OrdinalVGG16:
    """A narrow network with random weights."""
    return draw_network(seed, n_outputs, head, NARROW)


def add_reasons(network: OrdinalVGG16, *kinds: FindingKind) -> ReasonHead:
    """Gives a network a random layer for these reasons, and returns the head for its card."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network.reasons = ReasonLayer(network.layers, len(kinds))
    reason = Reason(intercept=0.5, weights={SCORE: -0.1, "size": 0.2}, named_from=0.3, advised_from=0.9)
    return ReasonHead(reasons=dict.fromkeys(kinds, reason), limits={SCORE: (-6, 6), "size": (-4, 0)})


def make_narrow_model(network: OrdinalVGG16 | None = None, **fields: Any) -> tuple[Card, bytes]:
    """The card and the weights of a narrow network, as a worker reads them.

    Args:
        network: seed 1 if not given.
        fields: of the card; by default it is trained and has a threshold of one half.
    """
    network = network or draw_narrow_network()
    given = {
        "name": "narrow",
        "architecture": network.architecture,
        "n_outputs": len(network.head.bias),
        "trained": True,
        "threshold": 0.5,
        "threshold_chosen_by": "fixture",
        "created_at": datetime.now(UTC),
    }
    weights = weights_of(network)
    return bind_card(Card.model_validate(given | fields), weights), weights


def write_narrow_model(folder: Path, network: OrdinalVGG16 | None = None, **fields: Any) -> Card:
    """Writes such a model into a folder, and returns its card."""
    return write_artifact(folder, *make_narrow_model(network, **fields))
