"""A network that was never trained, for a first look at the product while there is no trained one.

Its scores mean nothing, and everything that shows one says `model: untrained`. Its threshold is the median score of
photos that the project draws itself, so that a demonstration has both outcomes to show.
"""

from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import torch
from torch import nn

from triage.errors import ModelError
from triage.imaging.drawing import draw_sample_messages
from triage.quality.artifact import CARD_FILE, read_artifact, write_artifact
from triage.quality.card import UNTRAINED, Card, Head
from triage.quality.network import OrdinalVGG16
from triage.quality.patches import resize_photo
from triage.quality.scorer import Scorer
from triage.quality.weights import weights_of

_SEED: Final = 20240


def ensure_untrained(folder: Path) -> Path:
    """Makes the untrained model in this folder unless it is there already, and returns the folder."""
    if (folder / CARD_FILE).exists():
        try:
            read_artifact(folder)
            return folder
        except ModelError:
            pass  # half written, or of an earlier release: made anew below
    network = draw_network(_SEED)
    card = Card(
        name=UNTRAINED,
        trained=False,
        threshold=_median_score(network),
        threshold_chosen_by="median score of the project's drawn photos; it means nothing",
        data_summary={"photos": 0},
        licence_notes="Random numbers; made on this machine.",
        created_at=datetime.now(UTC),
    )
    write_artifact(folder, card, weights_of(network))
    return folder


def draw_network(seed: int, n_outputs: int = 4, head: Head = "coral") -> OrdinalVGG16:
    """A network with random weights of a fixed seed, scaled so that photos get different scores."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OrdinalVGG16(n_outputs, head)
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network.eval()


def _median_score(network: OrdinalVGG16) -> float:
    scorer = Scorer(network, good_votes=2, device=torch.device("cpu"))
    photos = [resize_photo(photo.image) for message in draw_sample_messages() for photo in message.photos]
    return median(score.score for score in scorer.score(photos))
