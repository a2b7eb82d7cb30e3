"""From photos to scores: an engine's logits, pooled and recalibrated, exact wherever a verdict depends on it.

Axes: n photos, 5 patches, K outputs.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from triage.domain.card import Card, Pooling, Recalibration
from triage.domain.photos import Finding, PhotoScore
from triage.domain.reasons import ReasonHead
from triage.findings.reasons import findings_by
from triage.findings.rules import Measured
from triage.model.coral import GRADE_BOUNDARY, grades_of
from triage.model.engines.engine import Engine
from triage.model.engines.tolerance import EXACT
from triage.model.network import probabilities_of


class Scorer:
    """Scores resized photos with one engine. It keeps no state between calls; one thread may use it at a time.

    A photo whose acceptance or grade could change within the engine's tolerance is scored again, exactly. So acceptance
    and grade are those of PyTorch in float32 on every engine; logits differ by at most the tolerance. Precisely:
    docs/decisions/0016-confirm-close-scores-with-pytorch.md
    """

    def __init__(
        self,
        engine: Engine,
        *,
        good_votes: int,
        pooling: Pooling = "mean",
        recalibration: Recalibration | None = None,
        reasons: ReasonHead | None = None,
        boundaries: Collection[float] = (),
    ):
        """
        Args:
            engine: runs the network.
            good_votes: a photo with at least this number of votes is good; the score is P(votes >= good_votes).
            pooling: from the patches' probabilities to the photo's.
            recalibration: applied to every probability, of photos and of patches.
            reasons: the head that names reasons, if the engine's network has a layer for it.
            boundaries: values that scores will be compared with, such as thresholds.
        """
        self._engine = engine
        self._good_votes = good_votes
        self._pooling: Pooling = pooling
        self._recalibration = recalibration
        self._reasons = reasons
        self._n_reasons = len(reasons.reasons) if reasons else 0
        self._boundaries = torch.tensor(sorted(boundaries), dtype=torch.float64)

    @classmethod
    def of(cls, card: Card, engine: Engine, *, uncertain_margin: float = 0.0) -> "Scorer":
        """Makes the scorer for a model's card.

        Args:
            card: of the engine's network.
            engine: with the network.
            uncertain_margin: of the retake policy, which also compares scores with threshold - uncertain_margin.
        """
        thresholds = {card.threshold, *card.thresholds_by_photo_count.values()}
        return cls(
            engine,
            good_votes=card.good_votes,
            pooling=card.pooling,
            recalibration=card.recalibration,
            reasons=card.reasons,
            boundaries=thresholds | {threshold - uncertain_margin for threshold in thresholds},
        )

    @torch.inference_mode()
    def score(self, photos: Sequence[Tensor] | Tensor) -> list[PhotoScore]:
        """Scores photos. Up to rounding, a score does not depend on the other photos of the batch.

        Args:
            photos: each uint8 (3, 448, 448), RGB, from `resize_photo`; or all of them, uint8 (n, 3, 448, 448).

        Returns:
            One score for each photo, in order.

        Raises:
            DeviceError: the device cannot run the network now; no photo is at fault.
        """
        if not len(photos):
            return []
        batch = photos if isinstance(photos, Tensor) else torch.stack(list(photos))  # (n, 3, 448, 448)
        return self.scores_of(self._confirmed(batch, self._engine.logits(batch)))  # (n, 5, K + R)

    def scores_of(self, outputs: Tensor) -> list[PhotoScore]:
        """The scores of photos whose exact outputs, float32 (n, 5, K + R), are known."""
        logits, reasons = self._split(outputs)  # (n, 5, K), (n, 5, R)
        cumulative, patches = probabilities_of(logits, self._pooling, self._recalibration)
        patch_scores = patches[:, :, self._good_votes - 1]  # (n, 5, K) -> (n, 5)
        grades = grades_of(cumulative).tolist()
        rows = zip(cumulative.tolist(), patch_scores.tolist(), grades, reasons.tolist(), strict=True)
        return [self._to_score(*row) for row in rows]

    def findings(self, score: PhotoScore, measured: Measured, *, acceptable: bool) -> tuple[Finding, ...]:
        """Why a photo fails, the likeliest reason first: see `triage.findings.reasons.findings_by`."""
        return findings_by(self._reasons, score, measured.values, measured.findings, acceptable=acceptable)

    def check(self) -> None:
        """As `Engine.check`, after an error that `score` raised."""
        self._engine.check()

    def _confirmed(self, photos: Tensor, logits: Tensor) -> Tensor:
        """The outputs (n, 5, K + R), exact where a verdict depends on it."""
        close = self._are_close_to_boundary(self._split(logits)[0])  # (n,)
        if not close.any():
            return logits
        exact = self._engine.exact_logits(photos[close])
        if not self._engine.compare(logits[close], exact):
            return self._engine.exact_logits(photos)
        confirmed = logits.clone()
        confirmed[close] = exact
        return confirmed

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (n, 5, K) and the patches' share of the reasons (n, 5, R)."""
        n_logits = outputs.shape[2] - self._n_reasons
        return outputs[:, :, :n_logits], outputs[:, :, n_logits:]

    def _are_close_to_boundary(self, logits: Tensor) -> Tensor:
        """Which photos could get another verdict within the tolerance: bool (n,). Scores are monotone in the logits."""
        tolerance = self._engine.tolerance
        if tolerance == EXACT:
            return torch.zeros(len(logits), dtype=torch.bool)
        margin = tolerance.of(logits)  # (n, 5, K)
        low, high = self._sides(logits - margin), self._sides(logits + margin)
        return (low != high).any(dim=1) | ~logits.isfinite().flatten(1).all(dim=1)

    def _sides(self, logits: Tensor) -> Tensor:
        """The side of each boundary that the photos are on: bool (n, number of boundaries + K)."""
        cumulative, _ = probabilities_of(logits, self._pooling, self._recalibration)  # (n, K)
        score = cumulative[:, self._good_votes - 1, None].double()  # (n, 1)
        return torch.cat([score >= self._boundaries, cumulative > GRADE_BOUNDARY], dim=1)

    def _to_score(
        self, cumulative: list[float], patch_scores: list[float], grade: int, reasons: list[list[float]]
    ) -> PhotoScore:
        return PhotoScore(
            cumulative=tuple(cumulative),
            patch_scores=tuple(patch_scores),
            score=cumulative[self._good_votes - 1],
            grade=grade,
            reasons=tuple(map(tuple, reasons)) if self._n_reasons else (),
        )
