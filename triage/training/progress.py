"""Progress reports of a training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from triage.training.checkpoint import Epoch

Stage: TypeAlias = Literal["reading photos", "training", "evaluating"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a training. A field that is None has not changed since the last report.

    Attributes:
        stage: the current step of the training.
        photos: photos decoded so far, readable or not; while training, photos of this epoch.
        of_photos: photos to decode, or photos of an epoch.
        photos_per_second: since this stage or epoch began.
        epoch: the current epoch, from 1.
        done: the finished share of that epoch, 0..1.
        epochs: the finished epochs, oldest first.
    """

    stage: Stage
    photos: int | None = None
    of_photos: int | None = None
    photos_per_second: float | None = None
    epoch: int | None = None
    done: float | None = None
    epochs: Sequence[Epoch] | None = None

    @classmethod
    def within_epoch(cls, number: int, photos: int, of_photos: int, *, seconds: float) -> Self:
        """The progress of an epoch that has taken this time."""
        return cls(
            "training",
            photos=photos,
            of_photos=of_photos,
            photos_per_second=photos / max(seconds, 1e-9),
            epoch=number,
            done=photos / of_photos,
        )


OnProgress: TypeAlias = Callable[[Progress], None]
"""Called after each photo, batch and epoch. An exception that it raises ends the training."""


def ignore_progress(_: Progress) -> None:
    """Ignores a report; the default of functions that report progress."""
