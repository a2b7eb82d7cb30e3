"""The reason head of a network that was just trained: from the reviewers' reasons, and from the model it started from.

Where reviewers gave no reason, the probabilities of the earlier model's head stand in, so that its reasons survive the
training of the convolutions.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from triage.dataset.manifest import LabelledPhoto, Split
from triage.domain.card import Card
from triage.domain.photos import PhotoScore
from triage.domain.reasons import ReasonHead
from triage.domain.states import FindingKind
from triage.errors import TriageError
from triage.evaluation.reasons import MAJORITY, ReasonPrediction, evaluate_reasons
from triage.findings.reasons import inputs_of, probabilities_of
from triage.model.engines.choose import load_exact_engine
from triage.model.named import LoadRegistered, read_model
from triage.model.network import OrdinalVGG16, ReasonLayer, statistics_of
from triage.model.patches import N_PATCHES
from triage.model.scorer import Scorer
from triage.model.starter import STARTER
from triage.model.weights import load_network
from triage.training.config import TrainingConfig
from triage.training.photos import PhotoSet
from triage.training.reasons import ReasonPhotos, fit_reasons

_FEWEST: Final = 5
"""Fewest training photos with a reason for it to be learned from reviewers."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """The model that a training started from, if it has a reason head."""

    card: Card
    network: OrdinalVGG16
    head: ReasonHead
    layer: ReasonLayer


def read_teacher(init: str, started_from: str, load_registered: LoadRegistered) -> Teacher | None:
    """Reads the initial model again; None if it was no model, has no reason head, or is no longer there."""
    if "model " not in started_from:
        return None
    try:
        card, weights = read_model(STARTER if init == "auto" else init, load_registered)
        network = load_network(card, weights)
    except TriageError:
        return None
    if card.reasons is None or network.reasons is None:
        return None
    return Teacher(card, network, card.reasons, network.reasons)


def add_reasons(
    network: OrdinalVGG16,
    card: Card,
    sets: Mapping[Split, PhotoSet],
    config: TrainingConfig,
    teacher: Teacher | None,
    *,
    device: torch.device,
    on_batch: Callable[[], object] = lambda: None,
) -> Card:
    """Fits a reason head to the network, if there is something to fit it to, and evaluates it.

    Args:
        network: trained; it gets the layer of the head.
        card: of the network, with its threshold.
        sets: the photos of each split.
        config: the settings of the training.
        teacher: the model that the training started from.
        device: that the network is on.
        on_batch: called after each batch of photos.

    Returns:
        The card, with the head and its evaluation on each split that has reasons, or saying that there is none.
    """
    asked = _kinds(sets[Split.TRAIN].labels)
    kinds = [kind for kind in FindingKind if kind in asked or (teacher and kind in teacher.head.reasons)]
    if not kinds:
        return _described(card, None, "none: findings are measured")
    reader = _Reader(network, card, sets, config, device=device, on_batch=on_batch)
    photos = reader.photos(Split.TRAIN, kinds, asked, teacher)
    held_out = reader.photos(Split.VALIDATION, kinds, asked, None)  # a teacher's probabilities are calibrated already
    start = (teacher.head, teacher.layer) if teacher and teacher.network.layers == network.layers else None
    head, layer = fit_reasons(kinds, network.layers, photos, held_out, start=start)
    network.reasons = layer.to(device)
    origin = [f"reviewers: {', '.join(kind for kind in kinds if kind in asked)}"] if asked else []
    if teacher and (taught := [kind for kind in kinds if kind not in asked]):
        origin.append(f"model {teacher.card.name}: {', '.join(taught)}")
    described = _described(card, head, "; ".join(origin))
    metrics = {
        name: {**measured, "reasons": found} if (found := reader.evaluate(Split(name), head)) else measured
        for name, measured in card.metrics.items()
    }
    return described.model_copy(update={"metrics": metrics})


class _Reader:
    """Passes the photos of a training through the network once more."""

    def __init__(
        self,
        network: OrdinalVGG16,
        card: Card,
        sets: Mapping[Split, PhotoSet],
        config: TrainingConfig,
        *,
        device: torch.device,
        on_batch: Callable[[], object],
    ) -> None:
        self._network = network
        self._card = card
        self._sets = sets
        self._config = config
        self._device = device
        self._on_batch = on_batch

    def photos(
        self, split: Split, kinds: Sequence[FindingKind], asked: Collection[FindingKind], teacher: Teacher | None
    ) -> ReasonPhotos:
        """The photos of a split with their reasons: the reviewers', and the teacher's of other kinds."""
        photos = self._sets[split]
        scores = self._score(self._card, self._network, photos)
        inputs = [inputs_of(score, measures) for score, measures in zip(scores, photos.measures, strict=True)]
        names = sorted(inputs[0]) if inputs else []
        nothing: list[Mapping[FindingKind, float]] = [{}] * len(photos)
        taught = self._teach(teacher, photos) if teacher else nothing
        given = np.full((len(photos), len(kinds)), np.nan)
        for row, (label, probabilities) in enumerate(zip(photos.labels, taught, strict=True)):
            given[row] = [(label.reasons if kind in asked else probabilities).get(kind, np.nan) for kind in kinds]
        return ReasonPhotos(
            self._statistics(photos),
            np.array([[row[name] for name in names] for row in inputs]).reshape(len(photos), len(names)),
            names,
            given,
            np.array([score.score < self._card.threshold for score in scores], dtype=np.bool_),
        )

    def evaluate(self, split: Split, head: ReasonHead) -> dict[str, Any] | None:
        """The reasons of the network with its new head against the reviewers', as `evaluate_reasons`."""
        photos = self._sets[split]
        scores = self._score(self._card.model_copy(update={"reasons": head}), self._network, photos)
        rows = zip(photos.labels, scores, photos.measures, strict=True)
        return evaluate_reasons(
            head,
            [
                ReasonPrediction(probabilities_of(head, score, measures), label.reasons)
                for label, score, measures in rows
                if label.reasons
            ],
        )

    def _teach(self, teacher: Teacher, photos: PhotoSet) -> list[Mapping[FindingKind, float]]:
        scores = self._score(teacher.card, teacher.network.to(self._device), photos)
        return [
            probabilities_of(teacher.head, score, measures)
            for score, measures in zip(scores, photos.measures, strict=True)
        ]

    def _score(self, card: Card, network: OrdinalVGG16, photos: PhotoSet) -> list[PhotoScore]:
        scorer = Scorer.of(card, load_exact_engine(network, self._device))
        scores = []
        for batch in photos.photos.split(self._config.batch_photos):
            scores += scorer.score(batch)
            self._on_batch()
        return scores

    @torch.inference_mode()
    def _statistics(self, photos: PhotoSet) -> NDArray[np.float32]:
        network = self._network.to(self._device).eval()
        rows = [np.empty((0, ReasonLayer(network.layers, 1).in_features), np.float32)]
        for batch in photos.photos.split(self._config.batch_photos):
            statistics = statistics_of(network.blocks_of(batch.to(self._device)))  # (n*5, F)
            rows.append(statistics.view(len(batch), N_PATCHES, -1).mean(dim=1).cpu().numpy())
            self._on_batch()
        return np.concatenate(rows)


def _kinds(labels: Sequence[LabelledPhoto]) -> set[FindingKind]:
    """The reasons that enough photos have."""
    counts = Counter(kind for label in labels for kind, share in label.reasons.items() if share >= MAJORITY)
    return {kind for kind, n in counts.items() if n >= _FEWEST}


def _described(card: Card, head: ReasonHead | None, origin: str) -> Card:
    settings = {**card.training_settings, "reasons_from": origin}
    return card.model_copy(update={"reasons": head, "training_settings": settings})
