"""Every setting of a training run, in one frozen record that ends up in the model's card."""

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triage.domain.card import Head, Pooling

INITIALISATIONS: Final = ("auto", "imagenet", "starter", "random")
"""What a training can start from by name; see `triage.training.initial`."""


class TrainingConfig(BaseModel):
    """What the paper gives is as it gives it; what it leaves open is a named field here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_reviewers: int = Field(default=4, ge=1, le=32, description="K, the number of cumulative outputs")
    good_votes: int = Field(default=2, ge=1, description="a photo is good from so many votes on")
    head: Head = "coral"
    pooling: Pooling = "mean"
    region_of_interest: bool = Field(default=False, description="crop to the reviewers' bounding box first")
    epochs: int = Field(default=50, ge=1)
    patience: int = Field(default=8, ge=1, description="epochs without a better validation loss before stopping")
    batch_photos: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="longer gradients are scaled down to this length")
    frozen_convolutions: int = Field(default=5, ge=0, le=13)
    flips: bool = Field(default=True, description="left-right and top-bottom, each with a chance of one half")
    mixed_precision: bool = Field(default=True, description="bfloat16 where the device is a GPU; a CPU has float32")
    threshold_from: Literal["validation", "train"] = Field(default="validation", description="the paper chose on train")
    target_ppv: float | None = Field(default=None, gt=0, le=1, description="instead of Youden's index")
    recalibrate: bool = Field(default=True, description="Platt's recalibration, fitted on validation")
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _good_votes_within_reviewers(self) -> Self:
        if self.good_votes > self.n_reviewers:
            raise ValueError("good_votes is larger than the number of reviewers")
        return self
