"""What to label next, and labels that are likely wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from worker.documents.document import Document

if TYPE_CHECKING:  # not imported at run time: torch
    from triage.labelling.choice import NextPhoto
    from triage.labelling.suspects import Suspects


class NextPhotoDocument(Document):
    """A photo to label next, with bits of information: `value` is `entropy` plus `model_disagreement`.

    `model_disagreement` is null with one model. `distance`, to the nearest photo that is labelled or listed before, is
    null for the first photo if none is labelled.
    """

    path: str
    votes: int
    n_reviewers: int
    score: float
    entropy: float
    patch_disagreement: float
    model_disagreement: float | None
    value: float
    distance: float | None


class LabelNextDocument(Document):
    """The photos to label next, the first one first. Of `n` photos, `n_unread` could not be read."""

    models: list[str]
    n: int
    n_unread: int
    photos: list[NextPhotoDocument]

    @classmethod
    def of(cls, chosen: "Sequence[NextPhoto]", models: list[str], *, n_photos: int, n_unread: int) -> Self:
        return cls(
            models=models,
            n=n_photos,
            n_unread=n_unread,
            photos=[
                NextPhotoDocument(
                    path=str(each.photo.path),
                    votes=each.photo.votes,
                    n_reviewers=each.photo.n_votes or 0,
                    score=each.score,
                    entropy=each.entropy,
                    patch_disagreement=each.patch_disagreement,
                    model_disagreement=each.model_disagreement,
                    value=each.value,
                    distance=each.distance,
                )
                for each in chosen
            ],
        )


class SuspectDocument(Document):
    """A photo whose label is likely wrong: `p_good` is the probability by heads that saw no photo of its patient."""

    path: str
    split: str | None
    votes: int
    n_reviewers: int
    label: Literal["good", "bad"]
    predicted: Literal["good", "bad"]
    p_good: float
    margin: float


class SuspectsDocument(Document):
    """Labels that are likely wrong, the largest margin first.

    `good_called_bad` and `bad_called_good` are estimated numbers of wrong labels among the `n` that could be read.
    """

    model: str
    n: int
    n_good: int
    n_unread: int
    good_called_bad: float
    bad_called_good: float
    photos: list[SuspectDocument]

    @classmethod
    def of(cls, found: "Suspects", model: str, *, n_unread: int) -> Self:
        return cls(
            model=model,
            n=found.n,
            n_good=found.n_good,
            n_unread=n_unread,
            good_called_bad=found.good_called_bad,
            bad_called_good=found.bad_called_good,
            photos=[
                SuspectDocument(
                    path=str(each.photo.path),
                    split=each.photo.split and each.photo.split.value,
                    votes=each.photo.votes,
                    n_reviewers=each.photo.n_votes or 0,
                    label="good" if each.is_good else "bad",
                    predicted="bad" if each.is_good else "good",
                    p_good=each.p_good,
                    margin=each.margin,
                )
                for each in found.photos
            ],
        )
