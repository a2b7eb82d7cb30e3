"""Every setting of a training run, in one frozen record that is stored on the model's card."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from triage.domain.card import Head, Pooling
from triage.errors import UsageError
from triage.files.kinds import is_file, is_folder
from triage.model.named import is_path

INITIALISATIONS: Final = ("auto", "imagenet", "starter", "random")
"""The initial weights that have a name; see `triage.training.initial`."""

_SUFFIX: Final = ".pth"
"""Of the files that torchvision writes."""


class TrainingConfig(BaseModel):
    """The defaults are those of the paper (doi:10.1016/j.xjidi.2024.100285) if it states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_reviewers: int = Field(default=4, ge=1, le=32, description="K, the number of outputs")
    good_votes: int = Field(default=2, ge=1, description="a photo with at least this number of votes is good")
    head: Head = "coral"
    pooling: Pooling = "mean"
    region_of_interest: bool = Field(default=False, description="crop each photo to its bounding box first")
    epochs: int = Field(default=50, ge=1)
    patience: int = Field(default=8, ge=1, description="epochs without a lower validation loss before stopping")
    batch_photos: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    frozen_convolutions: int = Field(default=5, ge=0, le=13)
    flips: bool = Field(default=True, description="flip left-right and top-bottom, each with probability 0.5")
    mixed_precision: bool = Field(default=True, description="bfloat16 on a GPU; a CPU always uses float32")
    threshold_from: Literal["validation", "train"] = Field(default="validation", description="the paper used train")
    target_ppv: float | None = Field(default=None, gt=0, le=1, description="choose the threshold for this PPV")
    recalibrate: bool = Field(default=True, description="recalibrate all outputs on the validation photos")
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _good_votes_within_reviewers(self) -> Self:
        if self.good_votes > self.n_reviewers:
            raise ValueError("good_votes is larger than the number of reviewers")
        return self


class PretrainingConfig(BaseModel):
    """Settings of a contrastive pretraining. The objective is CONTRIQUE's (doi:10.1109/TIP.2022.3181496)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=20, ge=1)
    batch_photos: int = Field(default=32, ge=2, description="of each, four views are compared with those of the others")
    learning_rate: float = Field(default=0.01, gt=0, allow_inf_nan=False, description="falls to 0 by a cosine")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="gradients are clipped to this norm")
    frozen_convolutions: int = Field(default=0, ge=0, le=13)
    temperature: float = Field(default=0.1, gt=0, description="as in the paper")
    mixed_precision: bool = Field(default=True, description="bfloat16 on a GPU; a CPU always uses float32")
    seed: int = Field(default=0, ge=0, lt=2**32)


def initial_file(init: str) -> Path | None:
    """The file of initial weights that `init` names, or None if it names a model or one of `INITIALISATIONS`.

    The text decides (`triage.model.named`): a path, or a name that ends with `.pth`.

    Raises:
        UsageError: it is a path, and nothing is there.
    """
    if init in INITIALISATIONS or not is_path(init, _SUFFIX):
        return None
    given = Path(init)
    if is_file(given):
        return given.resolve()
    if not is_folder(given):
        raise UsageError(
            "init: no such file or folder: give a path, the name of a registered model, or one of "
            f"{', '.join(INITIALISATIONS)}"
        )
    return None
