"""What the starter model's network computes for each patch of the rated photos, kept in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.starter.photos import read_photo, split_of_rated
from triage.dataset.manifest import Split
from triage.model.artifact import read_artifact
from triage.model.engines.mnn import MnnSession
from triage.model.network import statistics_of
from triage.model.starter import STARTER_FOLDER
from triage.model.weights import load_network

_CHUNK: Final = 40


@dataclass(frozen=True, slots=True)
class RatedFeatures:
    """
    Attributes:
        patches: float32 (N, 5, F), the statistics of the layers.
        logits: float32 (N, 5, K), of the starter model.
        votes: int64 (N,), 0..4.
        splits: of the starter model's training.
    """

    patches: NDArray[np.float32]
    logits: NDArray[np.float32]
    votes: NDArray[np.int64]
    splits: list[Split]

    def of(self, *splits: Split) -> NDArray[np.int64]:
        """The rows of some splits."""
        return np.array([row for row, split in enumerate(self.splits) if split in splits])


@torch.inference_mode()
def read_features(data: Path, cache: Path) -> RatedFeatures:
    """Computes what is missing in the cache: about a second a photo on one core."""
    rated = split_of_rated(data)
    cache.mkdir(parents=True, exist_ok=True)
    card, weights = read_artifact(STARTER_FOLDER)
    network = load_network(card, weights).eval()
    network.reasons = None
    session = None
    patches, logits = [], []
    for start in range(0, len(rated), _CHUNK):
        chunk = cache / f"features-{start:05d}.npz"
        if not chunk.is_file():
            session = session or MnnSession(network, cache, with_blocks=True)
            rows = []
            for path, _, _ in rated[start : start + _CHUNK]:
                inputs = network.normalised_patches(read_photo(path)[None])  # (5, 3, 224, 224)
                blocks = [torch.from_numpy(block) for block in session.run(inputs.contiguous().numpy())]
                rows.append((statistics_of(blocks).numpy(), network.logits_of(blocks[-1])[0].numpy()))
            np.savez(chunk, patches=np.stack([row[0] for row in rows]), logits=np.stack([row[1] for row in rows]))
            print(f"{start + len(rows)} photos", flush=True)
        stored = np.load(chunk)
        patches.append(stored["patches"])
        logits.append(stored["logits"])
    votes = np.array([each[1] for each in rated])
    return RatedFeatures(np.concatenate(patches), np.concatenate(logits), votes, [each[2] for each in rated])
