"""Photo reviews and the agreement of their reviewers."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from triage.domain.photo_reviews import EvenlyBy, Order, PhotoReview
from triage.domain.states import Fitzpatrick
from worker.documents.document import Document, UtcTime

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy and numpy
    from triage.photo_reviews.agreement import ReviewAgreement


class SamplingRuleDocument(Document):
    """Which photos a review got, and how many `votes` each one gets.

    With one vote, `second_share` and `near` say which photos get a second reviewer.
    """

    size: int
    since: UtcTime | None
    until: UtcTime | None
    order: Order
    evenly_by: EvenlyBy | None
    source: str | None
    fitzpatrick: list[Fitzpatrick]
    seed: int
    votes: int
    second_share: float
    near: float


class PhotoReviewDocument(Document):
    """A photo review. `done` photos need no further vote; withdrawn votes are not counted."""

    name: str
    id: UUID
    rule: SamplingRuleDocument
    created_by: str
    created_at: UtcTime
    closed_at: UtcTime | None
    photos: int
    done: int
    votes: int

    @classmethod
    def of(cls, review: PhotoReview) -> Self:
        return cls(
            name=review.name,
            id=review.id,
            rule=SamplingRuleDocument.model_validate(review.rule),
            created_by=review.created_by,
            created_at=review.created_at,
            closed_at=review.closed_at,
            photos=review.photos,
            done=review.done,
            votes=review.votes,
        )


class PairAgreementDocument(Document):
    """Two reviewers over the `n` photos on which both voted. `kappa` is null if it is not defined."""

    reviewers: list[str]
    n: int
    agreed: int
    kappa: float | None
    kappa_interval: tuple[float, float] | None


class ReviewerProgressDocument(Document):
    reviewer: str
    votes: int
    good: int


class PhotoReviewAgreementDocument(Document):
    """A photo review with the agreement of its reviewers, without third votes on disagreement.

    `agreed` photos of `n` have equal votes. Intervals are for 95 %.
    """

    review: PhotoReviewDocument
    n: int
    agreed: int
    share: float | None
    interval: tuple[float, float] | None
    krippendorff_alpha: float | None
    krippendorff_alpha_interval: tuple[float, float] | None
    pairs: list[PairAgreementDocument]
    reviewers: list[ReviewerProgressDocument]

    @classmethod
    def of(cls, found: "ReviewAgreement") -> Self:
        return cls(
            review=PhotoReviewDocument.of(found.review),
            n=found.observed.n,
            agreed=found.observed.k,
            share=found.observed.value,
            interval=found.observed.interval,
            krippendorff_alpha=found.alpha,
            krippendorff_alpha_interval=found.alpha_interval,
            pairs=[
                PairAgreementDocument(
                    reviewers=list(pair.reviewers),
                    n=pair.n,
                    agreed=pair.agreed,
                    kappa=pair.kappa,
                    kappa_interval=pair.interval,
                )
                for pair in found.pairs
            ],
            reviewers=[
                ReviewerProgressDocument(reviewer=each.reviewer, votes=each.votes, good=each.good)
                for each in found.reviewers
            ],
        )
