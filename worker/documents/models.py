"""Registered models. A model's card is printed as it is stored: see `triage.domain.card.Card`."""

from typing import Self
from uuid import UUID

from triage.domain.card import RegisteredModel
from triage.domain.states import Stage
from worker.documents.document import Document


class ModelDocument(Document):
    """A registered model. `model` is the label shown beside its scores: its name, or `untrained`.

    `NAME@VERSION` names it in every command.
    """

    id: UUID
    name: str
    version: int
    model: str
    stage: Stage
    weights_sha256: str
    threshold: float
    trained: bool

    @classmethod
    def of(cls, model: RegisteredModel) -> Self:
        return cls(
            id=model.id,
            name=model.card.name,
            version=model.version,
            model=model.card.label,
            stage=model.stage,
            weights_sha256=model.card.weights_sha256,
            threshold=model.card.threshold,
            trained=model.card.trained,
        )


class ModelThresholdsDocument(ModelDocument):
    """A registered model with its thresholds for messages of several photos, by number of photos."""

    thresholds_by_photo_count: dict[int, float]

    @classmethod
    def of(cls, model: RegisteredModel) -> Self:
        thresholds = {"thresholds_by_photo_count": model.card.thresholds_by_photo_count}
        return cls.model_validate(dict(ModelDocument.of(model)) | thresholds)
