"""What people said about photos, as rows: votes of a photo review, and decisions and reviews about a single photo."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from triage.domain.ids import AttachmentId, PhotoReviewId, first_id
from triage.domain.queue import ground_of, tells_quality
from triage.domain.states import DecidedBy, FindingKind, Outcome
from triage.storage.retention import bytes_are_there
from triage.storage.tables import (
    Attachment,
    Decision,
    Message,
    PhotoVote,
    RequestReview,
    RetakeRequest,
    ReviewedPhoto,
)


@dataclass(frozen=True, slots=True)
class Label:
    """What a person said about a photo.

    Attributes:
        is_there: whether the bytes of the photo can be fetched.
        actor: who said it; None for a photo of a review on which nobody has voted.
        good: good enough for the chart.
        reasons: why not; None if the person was not asked.
    """

    attachment_id: AttachmentId
    sha256: str | None
    uri: str | None = field(repr=False)
    media_type: str | None
    source: str
    fitzpatrick: str | None
    thread_id: UUID
    is_there: bool
    actor: str | None
    good: bool
    reasons: Sequence[FindingKind] | None


def votes(session: Session, review_id: PhotoReviewId) -> list[Label]:
    """The votes of a review that count, by photo; for a photo without votes, a label without an actor."""
    counted = and_(PhotoVote.photo_id == ReviewedPhoto.id, PhotoVote.withdrawn_at.is_(None))
    query = (
        _photos()
        .add_columns(PhotoVote.actor, PhotoVote.good, PhotoVote.reasons)
        .join(ReviewedPhoto, ReviewedPhoto.attachment_id == Attachment.id)
        .outerjoin(PhotoVote, counted)
        .where(ReviewedPhoto.review_id == review_id)
        .order_by(ReviewedPhoto.place, PhotoVote.id)
    )
    return [
        _label(row, row.actor, good=bool(row.good), reasons=[FindingKind(each) for each in row.reasons or ()])
        for row in session.execute(query)
    ]


def judged_requests(session: Session, since: datetime) -> list[Label]:
    """Appeals and reviews, made since a time, of the request for the only photo of a message: needless is good."""
    query = (
        _photos()
        .add_columns(RequestReview.actor, RequestReview.needless)
        .join(RetakeRequest, RetakeRequest.message_id == Message.id)
        .join(RequestReview, RequestReview.request_id == RetakeRequest.id)
        .where(RequestReview.id >= first_id(since), RequestReview.created_at >= since, _is_alone())
        .order_by(RequestReview.id)
    )
    return [_label(row, row.actor, good=row.needless, reasons=None) for row in session.execute(query)]


def decisions(session: Session, since: datetime) -> list[Label]:
    """Decisions of people, made since a time, about the only photo of a message, if their ground is its quality."""
    query = (
        _photos()
        .add_columns(Decision.actor, Decision.outcome, Decision.note)
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(Decision.id >= first_id(since), Decision.created_at >= since)
        .where(Decision.decided_by == DecidedBy.PERSON, _is_alone())
        .order_by(Decision.id)
    )
    return [
        _label(row, row.actor, good=row.outcome == Outcome.PASS, reasons=None)
        for row in session.execute(query)
        if tells_quality(ground_of(row.note)[0])
    ]


def _photos() -> Any:
    """A query of photos, to which columns are added."""
    return (
        select(
            Attachment.id,
            Attachment.sha256,
            Attachment.uri,
            Attachment.media_type,
            Message.source,
            Message.fitzpatrick,
            Message.thread_id,
            bytes_are_there().label("is_there"),
        )
        .select_from(Attachment)
        .join(Message, Message.id == Attachment.message_id)
        .where(Message.forgotten_at.is_(None), or_(Attachment.sha256.is_not(None), Attachment.uri.is_not(None)))
    )


def _is_alone() -> ColumnElement[bool]:
    """Condition on a message: it has one photo."""
    other = Attachment.__table__.alias()
    return select(func.count()).select_from(other).where(other.c.message_id == Message.id).scalar_subquery() == 1


def _label(row: Any, actor: str | None, *, good: bool, reasons: Sequence[FindingKind] | None) -> Label:
    return Label(
        AttachmentId(row.id),
        row.sha256,
        row.uri,
        row.media_type,
        row.source,
        row.fitzpatrick,
        row.thread_id,
        row.is_there,
        actor,
        good,
        reasons,
    )
