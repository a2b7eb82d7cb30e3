"""The reason head of a model: how likely each reason is that a photo fails. It is a part of the model's card.

The logit of a reason is a sum: the intercept, the mean of what the network's `ReasonLayer` adds for each patch, and
weighted measures of the photo. It imports no torch.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triage.domain.states import FindingKind

Probability = Annotated[float, Field(ge=0, le=1)]

SCORE: Final = "score"
"""The name of the logit of the photo's score among the measures."""

SEVERE: Final = 0.75
"""The probability from which a reason is severe."""


class Reason(BaseModel):
    """One reason.

    Attributes:
        intercept: of the logit.
        weights: by measure.
        named_from: the probability from which the reason is named for a photo that fails.
        advised_from: the same for a photo that passes; only staff see it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    intercept: float
    weights: Mapping[str, float] = Field(default_factory=dict)
    named_from: Probability
    advised_from: Probability


class ReasonHead(BaseModel):
    """The reasons, in the order of the outputs of the network's `ReasonLayer`.

    Attributes:
        outputs: the reason of each output. JSON gives no order to the members of an object, and Postgres sorts them.
            In a file without it, `reasons` has the order.
        limits: the range of each measure in the photos that the head was fitted to; measures are clipped to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reasons: Mapping[FindingKind, Reason] = Field(min_length=1)
    outputs: tuple[FindingKind, ...] = ()
    limits: Mapping[str, tuple[float, float]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _in_the_order_of_outputs(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(reasons := data.get("reasons"), Mapping):
            return data
        outputs = data.get("outputs", list(reasons))
        if not isinstance(outputs, list | tuple) or sorted(map(str, outputs)) != sorted(map(str, reasons)):
            raise ValueError("the outputs are not the reasons, each once")
        return {**data, "outputs": outputs, "reasons": {kind: reasons[kind] for kind in outputs}}

    @model_validator(mode="after")
    def _measures_have_limits(self) -> Self:
        if FindingKind.NO_CLEAR_REASON in self.reasons:
            raise ValueError("no_clear_reason is the outcome without a reason and has no weights")
        if any(reason.weights.keys() - self.limits.keys() for reason in self.reasons.values()):
            raise ValueError("a measure has no limits")
        return self
