"""Photo reviews as rows: drawing their photos, listing and closing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, String, cast, func, insert, select, true, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.orm import Session

from triage.domain import photo_reviews as domain
from triage.domain.ids import PhotoReviewId, new_id
from triage.domain.photo_reviews import EvenlyBy, Order, SamplingRule
from triage.domain.states import VerdictOrigin
from triage.storage.report_sums import within
from triage.storage.retention import bytes_are_there
from triage.storage.tables import Attachment, Message, PhotoReview, ReviewedPhoto, Verdict


@dataclass(frozen=True, slots=True)
class DrawnPhoto:
    """A photo that a rule selects. `is_near`: its score is close to the threshold."""

    attachment_id: UUID
    is_near: bool


def draw(session: Session, rule: SamplingRule) -> list[DrawnPhoto]:
    """Draws photos by a rule. Copies of a photo count once, and photos whose bytes are deleted are left out."""
    distance = func.abs(Verdict.score - Verdict.threshold)
    copies = func.coalesce(Attachment.sha256, cast(Attachment.id, String))
    photos = (
        select(
            Attachment.id,
            Message.source,
            Message.fitzpatrick,
            distance.label("distance"),
            func.md5(func.concat(cast(Attachment.id, String), ":", str(rule.seed))).label("random"),
            func.row_number().over(partition_by=copies, order_by=Attachment.id).label("copy"),
        )
        .select_from(Verdict)
        .join(Attachment, Attachment.id == Verdict.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(
            *within(Verdict.created_at, rule.period),
            Verdict.origin == VerdictOrigin.INBOX,
            Message.forgotten_at.is_(None),
            bytes_are_there(),
            *([Message.source == rule.source] if rule.source is not None else []),
            *([Message.fitzpatrick.in_(rule.fitzpatrick)] if rule.fitzpatrick else []),
        )
        .subquery()
    )
    order: list[Any] = [photos.c.random]
    if rule.order is Order.NEAR_THRESHOLD:
        order.insert(0, photos.c.distance)
    if rule.evenly_by is not None:
        stratum = {EvenlyBy.SOURCE: photos.c.source, EvenlyBy.FITZPATRICK: photos.c.fitzpatrick}[rule.evenly_by]
        order.insert(0, func.row_number().over(partition_by=stratum, order_by=list(order)))
    rows = session.execute(
        select(photos.c.id, photos.c.distance).where(photos.c.copy == 1).order_by(*order).limit(rule.size)
    )
    return [DrawnPhoto(row.id, row.distance <= rule.near) for row in rows]


def add(session: Session, name: str, rule: SamplingRule, *, by: str) -> PhotoReviewId | None:
    """Adds a review without photos; None if a review has this name."""
    row = {"id": new_id(), "name": name, "rule": rule.document(), "created_by": by}
    added = session.scalar(insert_unless(PhotoReview).values(row).on_conflict_do_nothing().returning(PhotoReview.id))
    return None if added is None else PhotoReviewId(added)


def add_photos(session: Session, review_id: PhotoReviewId, photos: Sequence[tuple[UUID, int]]) -> None:
    """Adds attachments to a review in the order in which they are shown, each with its number of reviewers."""
    rows = [
        {
            "id": new_id(),
            "review_id": review_id,
            "attachment_id": attachment_id,
            "place": place,
            "reviewers": reviewers,
            "wanted": reviewers,
        }
        for place, (attachment_id, reviewers) in enumerate(photos)
    ]
    session.execute(insert(ReviewedPhoto), rows)


def list_reviews(
    session: Session, *, before: PhotoReviewId | None = None, limit: int | None = None
) -> list[domain.PhotoReview]:
    """All reviews, or some that were created before another one; the newest first."""
    return _reviews(session, *([PhotoReview.id < before] if before else []), limit=limit)


def find(session: Session, review_id: PhotoReviewId) -> domain.PhotoReview | None:
    return next(iter(_reviews(session, PhotoReview.id == review_id)), None)


def find_by_name(session: Session, name: str) -> domain.PhotoReview | None:
    return next(iter(_reviews(session, PhotoReview.name == name)), None)


def close(session: Session, review_id: PhotoReviewId) -> bool:
    """Closes a review; returns whether it was open."""
    is_open = (PhotoReview.id == review_id) & PhotoReview.closed_at.is_(None)
    closed = update(PhotoReview).where(is_open).values(closed_at=func.clock_timestamp()).returning(PhotoReview.id)
    return session.execute(closed).one_or_none() is not None


def _reviews(session: Session, *which: ColumnElement[bool], limit: int | None = None) -> list[domain.PhotoReview]:
    of_review = ReviewedPhoto.review_id == PhotoReview.id
    numbers = (
        select(
            func.count().label("photos"),
            func.count().filter(ReviewedPhoto.votes >= ReviewedPhoto.wanted).label("done"),
            func.coalesce(func.sum(ReviewedPhoto.votes), 0).label("votes"),
        )
        .where(of_review)
        .lateral("numbers")
    )
    rows = session.execute(
        select(PhotoReview, numbers.c.photos, numbers.c.done, numbers.c.votes)
        .join(numbers, true())
        .where(*which)
        .order_by(PhotoReview.id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    ).all()
    return [
        domain.PhotoReview(
            id=PhotoReviewId(row.PhotoReview.id),
            name=row.PhotoReview.name,
            rule=row.PhotoReview.rule,
            created_by=row.PhotoReview.created_by,
            created_at=row.PhotoReview.created_at,
            closed_at=row.PhotoReview.closed_at,
            photos=row.photos,
            done=row.done,
            votes=row.votes,
        )
        for row in rows
    ]
