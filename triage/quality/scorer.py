"""Photos in, scores out: the network on one device, in batches of a bounded size."""

from collections.abc import Sequence

import torch
from torch import Tensor

from triage.domain import PhotoScore
from triage.quality.card import Card, Pooling, Recalibration
from triage.quality.network import OrdinalVGG16, pool_patches


def choose_device(name: str) -> torch.device:
    """The device to score on: `auto` takes a CUDA card where there is one, else the CPU; any other name is torch's."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


class Scorer:
    """Scores resized photos with one network. It keeps no state between calls; one thread may use it at a time."""

    def __init__(
        self,
        network: OrdinalVGG16,
        *,
        good_votes: int,
        device: torch.device,
        pooling: Pooling = "mean",
        recalibration: Recalibration | None = None,
        photos_per_call: int | None = None,
    ):
        """
        Args:
            network: its weights are moved to `device`.
            good_votes: a photo is good from so many votes on; the score is P(votes >= good_votes).
            device: where the network runs.
            pooling: how the patches' probabilities become the photo's.
            recalibration: applied to every probability, of photos and of patches.
            photos_per_call: photos in one forward pass; by default one on a CPU, where more is slower, else 64.
        """
        self._network = network.to(device).to(memory_format=torch.channels_last).eval()
        self._good_votes = good_votes
        self._device = device
        self._pooling: Pooling = pooling
        self._recalibration = recalibration
        self._photos_per_call = photos_per_call or (1 if device.type == "cpu" else 64)

    @classmethod
    def of(cls, card: Card, network: OrdinalVGG16, device: torch.device) -> "Scorer":
        """The scorer that a model's card asks for."""
        return cls(
            network,
            good_votes=card.good_votes,
            device=device,
            pooling=card.pooling,
            recalibration=card.recalibration,
        )

    @torch.inference_mode()
    def score(self, photos: Sequence[Tensor]) -> list[PhotoScore]:
        """Scores photos; each score is the same whatever other photos are in the batch, up to rounding.

        Args:
            photos: each uint8 (3, 448, 448), RGB, from `resize_photo`.

        Returns:
            One score for each photo, in order.
        """
        scores: list[PhotoScore] = []
        for start in range(0, len(photos), self._photos_per_call):
            batch = torch.stack(list(photos[start : start + self._photos_per_call]))  # (n, 3, 448, 448)
            logits = self._network(batch.to(self._device, non_blocking=True))  # (n, 5, K)
            cumulative, patches = (self._recalibrate(p) for p in pool_patches(logits.float(), self._pooling))
            cumulative = cumulative.cummin(dim=1).values  # equal levels may differ by a rounding, and never rise
            patch_scores = patches[:, :, self._good_votes - 1]  # (n, 5)
            scores += [self._to_score(*row) for row in zip(cumulative.tolist(), patch_scores.tolist(), strict=True)]
        return scores

    def _recalibrate(self, probabilities: Tensor) -> Tensor:
        if self._recalibration is None:
            return probabilities
        logits = torch.logit(probabilities.double(), eps=1e-12)
        return torch.sigmoid(self._recalibration.slope * logits + self._recalibration.intercept).float()

    def _to_score(self, cumulative: list[float], patch_scores: list[float]) -> PhotoScore:
        return PhotoScore(
            cumulative=tuple(cumulative),
            patch_scores=tuple(patch_scores),
            score=cumulative[self._good_votes - 1],
            grade=sum(probability > 0.5 for probability in cumulative),
        )
