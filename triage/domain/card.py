"""The card of a model: provenance, settings, thresholds and evaluations of its weights. It imports no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticSerializationError

from triage.domain.architecture import VGG16, layers_of
from triage.domain.ids import ModelVersionId
from triage.domain.reasons import ReasonHead
from triage.domain.states import Stage
from triage.errors import ModelError, UsageError, validation_problems

PREPROCESSING: Final = "five-windows-448-bilinear/1"
"""Version of the preprocessing of upright RGB for the network. A model requires the version named on its card."""

UNTRAINED: Final = "untrained"

PRETRAINING: Final = "pretraining"
"""In the training settings of a card: the objective of a pretraining. Its weights are a start, and cannot score."""

Head = Literal["coral", "independent"]
"""The output layer: one weight vector and K biases (CORAL), or K weight vectors, whose probabilities may cross."""

ModelName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]

Pooling = Literal["mean", "min"]
"""How the probabilities of the patches are combined into those of the photo."""


class Recalibration(BaseModel):
    """Of the probability of each number of votes k: sigmoid(slope * logit(P(votes >= k)) + intercepts[k - 1]).

    One slope and intercepts that never rise keep the probabilities in order. Source: `docs/decisions`, "Recalibrate all
    cuts with one slope".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slope: float = Field(gt=0)
    intercepts: tuple[float, ...] = Field(min_length=1, max_length=32, description="one for each output")

    @field_validator("intercepts")
    @classmethod
    def _never_rise(cls, intercepts: tuple[float, ...]) -> tuple[float, ...]:
        if any(later > earlier for earlier, later in pairwise(intercepts)):
            raise ValueError("the intercepts rise, so the probabilities would cross")
        return intercepts


class Card(BaseModel):
    """The card of a model, with all settings that scoring needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ModelName
    architecture: str = VGG16
    head: Head = "coral"
    preprocessing: str = PREPROCESSING
    n_outputs: int = Field(default=4, ge=1, le=32)
    good_votes: int = Field(default=2, ge=1)
    pooling: Pooling = "mean"
    recalibration: Recalibration | None = None
    recalibration_withheld: str = Field(default="", description="why there is none, although it was asked for")
    reasons: ReasonHead | None = Field(default=None, description="without it, findings are measured")
    threshold: float = Field(ge=0, le=1)
    threshold_chosen_by: str
    thresholds_by_photo_count: Mapping[int, float] = Field(default_factory=dict)
    trained: bool
    metrics: Mapping[str, Any] = Field(default_factory=dict, description="evaluations by data set, as `evaluate` gives")
    data_summary: Mapping[str, Any] = Field(default_factory=dict)
    training_settings: Mapping[str, Any] = Field(default_factory=dict)
    made_with: Mapping[str, str] = Field(default_factory=dict, description="versions of the packages that trained it")
    learning_curve: tuple[Mapping[str, Any], ...] = ()
    licence_notes: str = ""
    created_at: datetime
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @field_validator("architecture")
    @classmethod
    def _architecture_known(cls, name: str) -> str:
        layers_of(name)
        return name

    @model_validator(mode="before")
    @classmethod
    def _one_intercept_for_each_output(cls, fields: Any) -> Any:
        """Cards of earlier releases have one `intercept` for all outputs."""
        match fields:
            case {"recalibration": {"slope": slope, "intercept": intercept, **others}} if not others:
                n_outputs = fields.get("n_outputs", cls.model_fields["n_outputs"].default)
                if isinstance(n_outputs, int):
                    return {**fields, "recalibration": {"slope": slope, "intercepts": [intercept] * min(n_outputs, 32)}}
        return fields

    @model_validator(mode="after")
    def _fits_outputs(self) -> Self:
        if self.good_votes > self.n_outputs:
            raise ValueError("good_votes is larger than n_outputs")
        if self.recalibration is not None and len(self.recalibration.intercepts) != self.n_outputs:
            raise ValueError("the recalibration needs one intercept for each of n_outputs")
        return self

    @property
    def is_pretrained(self) -> bool:
        """Whether the weights are a start for trainings, whose head has learned nothing."""
        return PRETRAINING in self.training_settings

    @property
    def label(self) -> str:
        """The name of the model in every output that shows a score, or `untrained`."""
        return self.name if self.trained else UNTRAINED


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A model in the registry."""

    id: ModelVersionId
    card: Card
    stage: Stage
    version: int
    """Of its name, from 1 on."""

    @property
    def reference(self) -> str:
        """What names exactly this model, permanently: its name and version, such as `clinic@2`."""
        return f"{self.card.name}@{self.version}"

    @property
    def label(self) -> str:
        return self.card.label

    @property
    def weights_sha256(self) -> str:
        return self.card.weights_sha256


@dataclass(frozen=True, slots=True)
class UnreadableModel:
    """A model in the registry whose card is malformed, or of another release.

    Attributes:
        problem: what is wrong with the card and what to do, in one line.
    """

    id: ModelVersionId
    reference: str
    weights_sha256: str
    stage: Stage
    problem: str

    @property
    def label(self) -> str:
        return self.reference


def read_card(text: str | bytes) -> Card:
    """Reads a card.

    Raises:
        ModelError: the text is not JSON, a field is missing or invalid, or the preprocessing version differs.
    """
    try:
        card = Card.model_validate_json(text)
    except ValidationError as error:
        raise ModelError(f"invalid card.json ({validation_problems(error)}): export the model again") from error
    check_preprocessing(card)
    return card


def check_preprocessing(card: Card) -> None:
    """Checks that this release has the preprocessing version of a card.

    Raises:
        ModelError: the versions differ.
    """
    if card.preprocessing != PREPROCESSING:
        raise ModelError(
            f"the model requires preprocessing {card.preprocessing!r}, this release has {PREPROCESSING!r}: "
            "use the release that exported it, or train it again"
        )


def card_json(card: Card) -> dict[str, Any]:
    """Returns the card as JSON types, to store or to print.

    Raises:
        UsageError: a metric is nested too deeply, or is no JSON type.
    """
    try:
        document: dict[str, Any] = json.loads(card.model_dump_json())
    except PydanticSerializationError:
        raise UsageError("the card cannot be written as JSON: give metrics of JSON types, nested less deeply") from None
    return document


def label_of(document: Mapping[str, Any]) -> str:
    """Returns the label of a card that is stored as JSON, which may be malformed."""
    return str(document.get("name", UNTRAINED)) if document.get("trained") is True else UNTRAINED


def threshold_of(document: Mapping[str, Any]) -> float | None:
    """Returns the threshold of a card that is stored as JSON; None if the card is malformed."""
    threshold = document.get("threshold")
    return float(threshold) if isinstance(threshold, int | float) else None
