"""Progress reports of a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from triage.training.checkpoint import Epoch

Stage: TypeAlias = Literal["reading photos", "training", "evaluating"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. A field that is None has the value of the report before.

    Attributes:
        stage: what the training does now.
        photos: photos decoded so far, readable or not.
        of_photos: photos to decode.
        epoch: the current epoch, from 1.
        done: the finished share of that epoch, 0..1.
        epochs: the finished epochs, oldest first.
    """

    stage: Stage
    photos: int | None = None
    of_photos: int | None = None
    epoch: int | None = None
    done: float | None = None
    epochs: Sequence[Epoch] | None = None


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called after each photo, batch and epoch. An exception that it raises ends the training."""


def ignore_progress(_: Progress) -> None:
    """For callers that need no reports."""
