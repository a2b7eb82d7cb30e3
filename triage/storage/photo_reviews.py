"""Photo reviews as rows: drawing their photos, listing and closing them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    String,
    cast,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.orm import Session, aliased

from triage.domain import photo_reviews as domain
from triage.domain.ids import PhotoReviewId, new_id
from triage.domain.photo_reviews import EvenlyBy, Order, SamplingRule
from triage.domain.states import Fitzpatrick, VerdictOrigin
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
    drawn = [each for stratum in _strata(session, rule) for each in enumerate(_first_of(session, rule, stratum))]
    drawn.sort(key=lambda each: (each[0], *(each[1][name] for name in _ORDERS[rule.order])))
    return [DrawnPhoto(row["attachment_id"], row["distance"] <= rule.near) for _, row in drawn[: rule.size]]


_ORDERS: Final = {Order.RANDOM: ("random",), Order.NEAR_THRESHOLD: ("distance", "random")}


def _strata(session: Session, rule: SamplingRule) -> list[ColumnElement[bool]]:
    """A condition on messages for each stratum; one that all meet, if there are none."""
    match rule.evenly_by:
        case EvenlyBy.SOURCE if rule.source is None:
            return [Message.source == source for source in session.scalars(_SOURCES)]
        case EvenlyBy.FITZPATRICK:
            types: Sequence[Fitzpatrick | None] = rule.fitzpatrick or (*Fitzpatrick, None)
            return [Message.fitzpatrick.is_not_distinct_from(each) for each in types]
        case _:
            return [true()]


def _first_of(session: Session, rule: SamplingRule, stratum: ColumnElement[bool]) -> Sequence[RowMapping]:
    """The first photos of a stratum: scores alone are put in order, and photos are looked up until there are enough."""
    scores = (
        select(
            Verdict.attachment_id,
            func.abs(Verdict.score - Verdict.threshold).label("distance"),
            func.md5(func.concat(cast(Verdict.attachment_id, String), ":", str(rule.seed))).label("random"),
        )
        .where(*_is_scored(Verdict, rule))
        .order_by(*_ORDERS[rule.order])
        .subquery("scores")
    )
    photos = (
        select(scores)
        .join(Attachment, Attachment.id == scores.c.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(*_is_chosen(Message, rule), stratum, bytes_are_there(), ~_has_earlier_copy(rule))
        .order_by(*(scores.c[name] for name in _ORDERS[rule.order]))
        .limit(rule.size)
    )
    return session.execute(photos).mappings().all()


def _has_earlier_copy(rule: SamplingRule) -> ColumnElement[bool]:
    """Condition on an attachment: the rule selects an earlier one with the same bytes."""
    copy, verdict, message = aliased(Attachment), aliased(Verdict), aliased(Message)
    return exists(
        select(literal(1))
        .select_from(copy)
        .join(verdict, verdict.attachment_id == copy.id)
        .join(message, message.id == copy.message_id)
        .where(
            copy.sha256 == Attachment.sha256,
            copy.id < Attachment.id,
            bytes_are_there(copy),
            *_is_scored(verdict, rule),
            *_is_chosen(message, rule),
        )
    )


def _is_scored(verdict: Any, rule: SamplingRule) -> list[ColumnElement[bool]]:
    return [*within(verdict.created_at, rule.period), verdict.origin == VerdictOrigin.INBOX]


def _is_chosen(message: Any, rule: SamplingRule) -> list[ColumnElement[bool]]:
    return [
        message.forgotten_at.is_(None),
        *([message.source == rule.source] if rule.source is not None else []),
        *([message.fitzpatrick.in_(rule.fitzpatrick)] if rule.fitzpatrick else []),
    ]


_SOURCES: Final = text(
    """
    WITH RECURSIVE found AS (
        (SELECT source FROM message ORDER BY source LIMIT 1)
        UNION ALL
        SELECT (SELECT source FROM message m WHERE m.source > found.source ORDER BY source LIMIT 1)
        FROM found WHERE found.source IS NOT NULL
    )
    SELECT source FROM found WHERE source IS NOT NULL
    """
)
"""The senders of all messages, by one look into the index for each."""


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
