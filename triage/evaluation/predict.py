"""A model on labelled photos: its predictions, its worst mistakes, and the record of them on its card."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from triage.dataset.crop import crop
from triage.dataset.manifest import LabelledPhoto, Split, read_manifest
from triage.domain.card import Card
from triage.errors import AttachmentError, TransientError, UsageError
from triage.evaluation.labelled import predictions_of
from triage.evaluation.predictions import Predictions
from triage.evaluation.report import Mistake
from triage.imaging.decode import Decoder
from triage.imaging.limits import ImageLimits
from triage.model.artifact import read_artifact
from triage.model.patches import resize_photo
from triage.model.scorer import Scorer
from triage.model.starter import model_folder
from triage.storage import model_versions as models
from worker.inference import load_engine
from worker.services import services
from worker.settings import load_settings

log = structlog.get_logger(__name__)

_MISTAKES: Final = 12
_THUMBNAIL_SIDE: Final = 240


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a model says of a manifest. `mistakes` gives the worst at a threshold."""

    predictions: Predictions
    data: str
    card: Card
    mistakes: Callable[[float], Sequence[Mistake]]


def predict_manifest(model: str, manifest: Path, split: str | None, *, to_record: bool = False) -> Predicted:
    """Scores labelled photos with a registered model, or one in a folder. Photos that cannot be read are left out.

    Args:
        to_record: the result is for a registered model's card, which photos that models learn from cannot fill.

    Raises:
        UsageError: the manifest is wrong, there is no such model, or no photo is left.
        ModelError: the model cannot be loaded.
    """
    card, weights = _load_registered(model) if to_record else _load(model)
    photos: Sequence[LabelledPhoto] = read_manifest(manifest, n_reviewers=card.n_outputs).photos
    if split is not None:
        if split not in {*Split}:
            raise UsageError(f"--split must be one of {', '.join(Split)}")
        photos = [photo for photo in photos if photo.split == split]
    if to_record and any(photo.split is Split.TRAIN for photo in photos):
        raise UsageError("--record: the manifest holds training photos: give --split test")
    settings = load_settings()
    crops = bool(card.training_settings.get("region_of_interest"))
    scorer = Scorer.of(card, load_engine(settings, card, weights))
    labels: list[LabelledPhoto] = []
    scores: list[float] = []
    with Decoder(settings.image_limits) as decoder:
        for label in photos:
            try:
                photo = decoder.decode(label.path.read_bytes())
            except (AttachmentError, TransientError, OSError) as error:
                log.warning("photo.unreadable", error_type=type(error).__name__)
                continue
            if crops and label.box is not None:
                region = crop(photo, label.box)
                if region is None:
                    continue
                photo = region
            [score] = scorer.score([resize_photo(photo)])
            labels.append(label)
            scores.append(score.score)
    if not labels:
        raise UsageError(f"{manifest}: no photo {f'of the split {split} ' if split else ''}can be read")
    predictions = predictions_of(np.array(scores), labels)
    data = f"The {split} photos of a manifest" if split else "All photos of a manifest"
    return Predicted(
        predictions,
        data,
        card,
        lambda threshold: _mistakes(predictions, labels, card.good_votes, threshold, settings.image_limits),
    )


def record_evaluation(model: str, name: str, evaluation: dict[str, Any]) -> None:
    """Puts an evaluation on a registered model's card, under the name of its data.

    Raises:
        UsageError: there is no such model.
    """
    services().registry.record_evaluation(model, name, evaluation, actor="evaluation")


def _load(model: str) -> tuple[Card, bytes]:
    if model_folder(model).is_dir():
        return read_artifact(model_folder(model))
    return _load_registered(model)


def _load_registered(model: str) -> tuple[Card, bytes]:
    own = services()
    with own.sessions() as session:
        card = models.find(session, model).card
    return card, own.registry.weights(card)


def _mistakes(
    predictions: Predictions, labels: Sequence[LabelledPhoto], good_votes: int, threshold: float, limits: ImageLimits
) -> list[Mistake]:
    """The photos on the wrong side of the threshold, those furthest from it first."""
    scores, good = predictions.scores, predictions.good(good_votes)
    wrong = np.flatnonzero((scores >= threshold) != good)
    worst = wrong[np.argsort(-np.abs(scores[wrong] - threshold), kind="stable")][:_MISTAKES]
    with Decoder(limits) as decoder:
        return [Mistake(_thumbnail(labels[i].path, decoder), float(scores[i]), labels[i].votes) for i in worst.tolist()]


def _thumbnail(path: Path, decoder: Decoder) -> bytes:
    image = decoder.decode(path.read_bytes()).to_image()
    image.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)  # made anew from the pixels, so nothing else of the file comes along
    return data.getvalue()
