"""Every setting of a training run, in one frozen record that ends up in the model's card."""

from pydantic import BaseModel, ConfigDict, Field


class TrainingConfig(BaseModel):
    """What the paper gives is as it gives it; what it leaves open is a named field here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_reviewers: int = Field(default=4, ge=1, le=32)
    good_votes: int = Field(default=2, ge=1)
    epochs: int = Field(default=50, ge=1)
    patience: int = Field(default=8, ge=1, description="epochs without a better validation loss before stopping")
    batch_photos: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=5e-4, ge=0)
    max_gradient_norm: float = Field(default=1.0, gt=0, description="longer gradients are scaled down to this length")
    frozen_convolutions: int = Field(default=5, ge=0, le=13)
    seed: int = 0
