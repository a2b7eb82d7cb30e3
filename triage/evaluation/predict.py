"""A model's predictions for labelled photos, and those to look at."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from triage.dataset.crop import crop
from triage.dataset.manifest import LabelledPhoto, Split, read_manifest
from triage.dataset.unread import UnreadPhoto
from triage.domain.card import Card
from triage.errors import AttachmentError, TrainingPhotosError, TransientError, UsageError
from triage.evaluation.labelled import predictions_of
from triage.evaluation.prediction_table import PredictedPhoto
from triage.evaluation.predictions import Predictions
from triage.evaluation.reasons import ReasonPrediction, evaluate_reasons
from triage.evaluation.recalibration import undo_recalibration
from triage.evaluation.report import GalleryPhoto
from triage.findings.reasons import probabilities_of
from triage.findings.rules import measure_findings
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.model.engines.engine import Engine
from triage.model.patches import resize_photo
from triage.model.photo_hashes import read_photo_hashes
from triage.model.scorer import Scorer

_SHOWN: Final = 12
_THUMBNAIL_SIDE: Final = 240


EngineLoader: TypeAlias = Callable[[Card, bytes], Engine]
"""Loads a model, given as its card and a safetensors file, into an engine."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A model's predictions for the photos of a manifest.

    Attributes:
        photos: one for each photo that could be scored.
        predictions: the same, with what an evaluation needs.
        data: a short description of the photos, for the report.
        card: the model's.
        galleries: gives photos to look at, by title, for a threshold: the worst mistakes and the nearest to it.
        reasons: the model's reasons against the reviewers', as `evaluate_reasons`.
        unscored: the photos that could not be scored.
        n_of_other_splits: number of photos that were not read.
        trained_on: number of scored photos that the model was trained or validated on; None if its weights do not say
            which those are.
    """

    photos: Sequence[PredictedPhoto]
    predictions: Predictions
    data: str
    card: Card
    galleries: Callable[[float], Mapping[str, Sequence[GalleryPhoto]]]
    reasons: dict[str, Any] | None
    unscored: Sequence[UnreadPhoto]
    n_of_other_splits: int
    trained_on: int | None


def predict_manifest(
    card: Card,
    weights: bytes,
    manifest: Path,
    split: str | None,
    *,
    load_engine: EngineLoader,
    limits: ImageLimits,
    for_card: bool = False,
) -> Predicted:
    """Scores labelled photos. Photos that cannot be scored are left out and counted.

    Args:
        card: of the model.
        weights: a safetensors file.
        manifest: the labelled photos.
        split: the split to score; all photos if None.
        load_engine: called once the manifest has been checked.
        limits: for decoding photos.
        for_card: the evaluation will be stored on the model's card, so photos that the model learned from are refused.

    Raises:
        UsageError: the manifest or the split is invalid, or no photo can be read.
        TrainingPhotosError: the evaluation is for the card, and the model learned from some of the photos.
        ModelError: the model cannot be loaded.
    """
    every: Sequence[LabelledPhoto] = read_manifest(manifest, n_reviewers=card.n_outputs).photos
    photos = every
    if split is not None:
        if split not in {*Split}:
            raise UsageError(f"split must be one of {', '.join(Split)}")
        photos = [photo for photo in every if photo.split == split]
    if for_card and any(photo.split is Split.TRAIN for photo in photos):
        raise TrainingPhotosError("an evaluation on training photos cannot be recorded: choose the split test")
    learned_from = read_photo_hashes(weights)
    trained_on = 0
    crops = bool(card.training_settings.get("region_of_interest"))
    scorer = Scorer.of(card, load_engine(card, weights))
    labels: list[LabelledPhoto] = []
    predicted: list[PredictedPhoto] = []
    unscored: list[UnreadPhoto] = []
    reasons: list[ReasonPrediction] = []
    with Decoder(limits) as decoder:
        for label in photos:
            try:
                data = label.path.read_bytes()
                photo = decoder.decode(data)
            except (AttachmentError, TransientError, OSError) as error:
                unscored.append(UnreadPhoto.of(label.path, error))
                continue
            if crops and label.box is not None:
                region = crop(photo, label.box)
                if region is None:
                    unscored.append(UnreadPhoto.outside_box(label.path))
                    continue
                photo = region
            trained_on += learned_from is not None and data in learned_from
            small = resize_photo(photo)
            [score] = scorer.score([small])
            measured = measure_findings(photo.upright, small.permute(1, 2, 0).numpy())
            if card.reasons is not None and label.reasons:
                probabilities = probabilities_of(card.reasons, score, measured.values)
                reasons.append(ReasonPrediction(probabilities, label.reasons))
            findings = scorer.findings(score, measured, acceptable=score.score >= card.threshold)
            labels.append(label)
            predicted.append(PredictedPhoto(label.path, score, findings, label))
    if not labels:
        raise UsageError(f"{manifest}: no photo {f'of the split {split} ' if split else ''}can be read")
    if for_card and trained_on:
        raise TrainingPhotosError(
            f"the model was trained or validated on {trained_on} of these {len(labels)} photos: "
            "choose the split test, or other photos, and evaluate again"
        )
    cumulative = np.array([each.score.cumulative for each in predicted])  # (N, K)
    predictions = replace(
        predictions_of(cumulative, labels, card.good_votes),
        grades=np.array([each.score.grade for each in predicted], dtype=np.float64),
        uncalibrated=undo_recalibration(card.recalibration, cumulative) if card.recalibration else None,
    )
    described = f"The {split} photos of a manifest" if split else "All photos of a manifest"
    return Predicted(
        predicted,
        predictions,
        described,
        card,
        lambda threshold: _galleries(predictions, labels, card, threshold, limits),
        evaluate_reasons(card.reasons, reasons) if card.reasons else None,
        unscored,
        len(every) - len(photos),
        None if learned_from is None else trained_on,
    )


def _galleries(
    predictions: Predictions, labels: Sequence[LabelledPhoto], card: Card, threshold: float, limits: ImageLimits
) -> dict[str, list[GalleryPhoto]]:
    """Photos on the wrong side of the threshold, the furthest first, and those nearest to it."""
    scores, good = predictions.scores, predictions.good(card.good_votes)
    distance = np.abs(scores - threshold)
    passes = scores >= threshold
    chosen = {
        "Bad photos that pass": np.flatnonzero(passes & ~good)[np.argsort(-distance[passes & ~good], kind="stable")],
        "Good photos that fail": np.flatnonzero(~passes & good)[np.argsort(-distance[~passes & good], kind="stable")],
        "Nearest to the threshold": np.argsort(distance, kind="stable"),
    }
    with Decoder(limits) as decoder:
        return {
            title: [
                GalleryPhoto(
                    labels[row].path.name,
                    _thumbnail(labels[row].path, decoder),
                    float(scores[row]),
                    f"{labels[row].votes} of {labels[row].n_votes or card.n_outputs}",
                )
                for row in rows[:_SHOWN].tolist()
            ]
            for title, rows in chosen.items()
        }


def _thumbnail(path: Path, decoder: Decoder) -> bytes:
    image = decoder.decode(path.read_bytes()).to_image()
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)  # encoded from the pixels: no metadata of the photo is copied
    return data.getvalue()
