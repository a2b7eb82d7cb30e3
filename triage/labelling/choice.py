"""What to label next: the photos whose labels are worth most to a model.

Axes: n photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto, Split
from triage.errors import UsageError
from triage.labelling.features import PhotoFeatures
from triage.statistics.arrays import Floats
from triage.statistics.information import centred, disagreement, entropy
from triage.statistics.k_center import choose_diverse

MAX_VOTES: Final = 1
"""Photos with at most this number of votes may be chosen; the others are known."""

_LEARNED: Final = {None, Split.TRAIN}


@dataclass(frozen=True, slots=True)
class NextPhoto:
    """A photo to label.

    Attributes:
        score: P(good) by the model.
        entropy: in bits, 1 where the score is at the threshold.
        patch_disagreement: bits by which the five patches disagree, 0..1.
        model_disagreement: bits by which the two models disagree, 0..1; None with one model.
        value: the entropy plus the disagreement of two models.
        distance: to the nearest photo that was known or chosen before, in units of the median distance between nearest
            neighbours; None for the first if no photo was known.
    """

    photo: LabelledPhoto = field(repr=False)
    score: float
    entropy: float
    patch_disagreement: float
    model_disagreement: float | None
    value: float
    distance: float | None


def choose_next(features: PhotoFeatures, n: int, other: PhotoFeatures | None = None) -> list[NextPhoto]:
    """Ranks photos with at most one vote by value, those last that are like a known one or one ranked before.

    See `triage.statistics.k_center.choose_diverse`.

    Args:
        features: of all photos by the model; those with more votes are known.
        n: how many photos to choose.
        other: the same photos by a second model.

    Raises:
        UsageError: no photo has so few votes.
    """
    check_candidates(features.photos)
    candidates = np.array([is_candidate(photo) for photo in features.photos])
    values = value_labels(features, other)
    rows, distances = choose_diverse(values.sum, features.features, candidates, n)
    return [
        NextPhoto(
            features.photos[row],
            features.scores[row].score,
            float(values.entropy[row]),
            float(values.patches[row]),
            None if values.models is None else float(values.models[row]),
            float(values.sum[row]),
            float(distance) if np.isfinite(distance) else None,
        )
        for row, distance in zip(rows.tolist(), distances.tolist(), strict=True)
    ]


def check_candidates(photos: Sequence[LabelledPhoto]) -> None:
    """
    Raises:
        UsageError: no photo has so few votes.
    """
    if not any(map(is_candidate, photos)):
        raise UsageError(f"no photo to learn from has {MAX_VOTES} vote or none: add photos")


def is_candidate(photo: LabelledPhoto) -> bool:
    """Whether a photo has few votes and may be learned from: validation and test photos are not chosen by a model."""
    return photo.n_votes is not None and photo.n_votes <= MAX_VOTES and photo.split in _LEARNED


@dataclass(frozen=True, slots=True, eq=False)
class LabelValues:
    """What a label of each photo would tell, in bits: float64 (n,) each.

    Attributes:
        entropy: of the score, or of the mean of two models' scores.
        patches: by which the patches disagree.
        models: by which two models disagree; None with one model.
    """

    entropy: Floats
    patches: Floats
    models: Floats | None

    @property
    def sum(self) -> Floats:
        """What ranks photos. The patches' disagreement does not: on rated photos it gained nothing."""
        return self.entropy if self.models is None else self.entropy + self.models


def value_labels(features: PhotoFeatures, other: PhotoFeatures | None = None) -> LabelValues:
    """Estimates what labels would tell. The logits of scores are shifted so that the threshold is one half."""
    models = [each for each in (features, other) if each is not None]
    scores = np.stack(
        [_centred([[s.score] for s in each.scores], each)[:, 0] for each in models], axis=1
    )  # (n, models)
    patches = _centred([score.patch_scores for score in features.scores], features)  # (n, 5)
    return LabelValues(
        entropy(scores.mean(axis=1)), disagreement(patches), disagreement(scores) if other is not None else None
    )


def _centred(scores: Sequence[Sequence[float]], features: PhotoFeatures) -> Floats:
    return centred(np.array(scores, dtype=np.float64), features.card.threshold)
