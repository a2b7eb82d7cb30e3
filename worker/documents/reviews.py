"""Appeals and reviews of retake requests, and samples of requests to review."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from triage.domain.states import ReviewKind
from worker.documents.document import Call, Document

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.reports.sample import Sample
    from triage.retakes.reviews import RecordedReview


class AppealCall(Call):
    """An appeal over HTTP. `by` is an opaque id of the person; the audit trail records `client/by`."""

    source: str
    message_id: str
    reason: str
    by: str


class ReviewCall(Call):
    """A review over HTTP. `needless`: one of the photos was good enough. `by` as in an appeal.

    With `answers_appeal` it answers an appeal, and is no review of a random sample.
    """

    source: str
    message_id: str
    needless: bool
    by: str
    note: str | None = None
    answers_appeal: bool = False


class ReviewDocument(Document):
    """A person's judgement of a retake request. `recorded` is false if the same judgement was recorded before."""

    message_id: str
    source: str
    request_id: UUID
    kind: ReviewKind
    needless: bool
    actor: str
    recorded: bool

    @classmethod
    def of(cls, review: "RecordedReview") -> Self:
        return cls(
            message_id=review.message_id,
            source=review.source,
            request_id=review.request_id,
            kind=review.kind,
            needless=review.needless,
            actor=review.actor,
            recorded=review.recorded,
        )


class ProposedRequestDocument(Document):
    message_id: str
    source: str
    request_id: UUID
    reviewed: bool


class SampleDocument(Document):
    """Requests to review. `size` exceeds `requests` if the period has too few for the wanted interval."""

    requests: int
    expected_share: float
    size: int
    proposed: list[ProposedRequestDocument]

    @classmethod
    def of(cls, sample: "Sample") -> Self:
        return cls(
            requests=sample.requests,
            expected_share=sample.expected_share,
            size=sample.size,
            proposed=[
                ProposedRequestDocument(
                    message_id=each.message, source=each.source, request_id=each.id, reviewed=each.is_reviewed
                )
                for each in sample.proposed
            ],
        )
