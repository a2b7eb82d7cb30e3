"""Votes on the photos of a review, as rows: claiming the next photo, voting, and undoing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from triage.domain.ids import AttachmentId, MessageId, PhotoReviewId, ReviewedPhotoId, ThreadId, VoteId, new_id
from triage.domain.photo_reviews import ReviewedPhoto as ShownPhoto
from triage.storage.retention import bytes_are_there
from triage.storage.tables import TO_VOTE, Attachment, Message, PhotoReview, PhotoVote, ReviewedPhoto

_COUNTS: Final = PhotoVote.withdrawn_at.is_(None)
_IS_FREE: Final = or_(ReviewedPhoto.lease_until.is_(None), ReviewedPhoto.lease_until <= func.statement_timestamp())
_ON_DISAGREEMENT: Final = 3
"""Votes on a photo for which two people were to vote."""


@dataclass(frozen=True, slots=True)
class GivenVote:
    """A vote that counts.

    Attributes:
        thread_id: of the photo, which stands for the patient.
        number: 1 for the first vote on the photo.
        planned: how many votes the photo was to get, without the third one on disagreement.
    """

    photo_id: ReviewedPhotoId
    thread_id: ThreadId
    actor: str
    good: bool
    number: int
    planned: int


def claim_next(session: Session, review_id: PhotoReviewId, *, by: str, lease: timedelta) -> ReviewedPhotoId | None:
    """Claims the next photo for a person, one that the person holds first. Two people at once get two photos."""
    free_or_own = or_(_IS_FREE, ReviewedPhoto.claimed_by == by)
    query = _waiting(review_id, by).where(free_or_own)
    own_first = case((ReviewedPhoto.claimed_by == by, 0), else_=1)
    found = session.scalar(
        query.order_by(own_first, ReviewedPhoto.place).limit(1).with_for_update(of=ReviewedPhoto, skip_locked=True)
    )
    if found is not None:
        _hold(session, ReviewedPhotoId(found), by, lease)
    return None if found is None else ReviewedPhotoId(found)


def show(session: Session, review_id: PhotoReviewId, photo_id: ReviewedPhotoId, *, by: str) -> ShownPhoto | None:
    """A photo that this person holds, or None."""
    row = session.execute(
        select(PhotoReview.name, Attachment.id, Attachment.message_id)
        .select_from(ReviewedPhoto)
        .join(PhotoReview, PhotoReview.id == ReviewedPhoto.review_id)
        .join(Attachment, Attachment.id == ReviewedPhoto.attachment_id)
        .where(ReviewedPhoto.id == photo_id, ReviewedPhoto.review_id == review_id, ReviewedPhoto.claimed_by == by)
    ).one_or_none()
    if row is None:
        return None
    voted, left = progress(session, review_id, by=by)
    return ShownPhoto(photo_id, row.name, row.message_id, row.id, voted, left)


def progress(session: Session, review_id: PhotoReviewId, *, by: str) -> tuple[int, int]:
    """How many photos of a review this person has voted on, and how many more wait for this person."""
    of_review = ReviewedPhoto.review_id == review_id
    voted = session.scalar(select(func.count()).select_from(ReviewedPhoto).where(of_review, _voted(by))) or 0
    waiting = _waiting(review_id, by).subquery()
    return voted, session.scalar(select(func.count()).select_from(waiting)) or 0


def reviewed_by(session: Session, by: str) -> set[PhotoReviewId]:
    """The open reviews in which this person has voted. Votes that were withdrawn also count."""
    voted = exists().where(
        ReviewedPhoto.review_id == PhotoReview.id, PhotoVote.photo_id == ReviewedPhoto.id, PhotoVote.actor == by
    )
    return set(
        map(PhotoReviewId, session.scalars(select(PhotoReview.id).where(PhotoReview.closed_at.is_(None), voted)))
    )


def under_review(session: Session, message_id: MessageId) -> set[AttachmentId]:
    """The photos of a message that are in an open review, or of which a copy is."""
    own, copy = aliased(Attachment), aliased(Attachment)
    query = (
        select(own.id)
        .join(copy, or_(copy.id == own.id, copy.sha256 == own.sha256))
        .join(ReviewedPhoto, ReviewedPhoto.attachment_id == copy.id)
        .join(PhotoReview, PhotoReview.id == ReviewedPhoto.review_id)
        .where(own.message_id == message_id, PhotoReview.closed_at.is_(None))
    )
    return set(map(AttachmentId, session.scalars(query)))


def lock(session: Session, review_id: PhotoReviewId, photo_id: ReviewedPhotoId) -> ReviewedPhoto | None:
    """Locks a photo of a review."""
    query = select(ReviewedPhoto).where(ReviewedPhoto.id == photo_id, ReviewedPhoto.review_id == review_id)
    return session.scalars(query.with_for_update()).one_or_none()


def vote_of(session: Session, photo_id: ReviewedPhotoId, *, by: str) -> PhotoVote | None:
    """This person's vote on the photo that counts."""
    mine = select(PhotoVote).where(PhotoVote.photo_id == photo_id, PhotoVote.actor == by, _COUNTS)
    return session.scalars(mine).one_or_none()


def add(session: Session, photo_id: ReviewedPhotoId, *, good: bool, reasons: Sequence[str], by: str) -> VoteId:
    """Adds a vote and ends the claim. The caller holds the lock of the photo."""
    vote_id = VoteId(new_id())
    row = {"id": vote_id, "photo_id": photo_id, "actor": by, "good": good, "reasons": list(reasons)}
    session.execute(insert(PhotoVote).values(row))
    _recount(session, photo_id, claimed_by=None, lease_until=None)
    return vote_id


def latest(session: Session, review_id: PhotoReviewId, *, by: str) -> VoteId | None:
    """This person's latest vote in a review that counts."""
    query = (
        select(PhotoVote.id)
        .join(ReviewedPhoto, ReviewedPhoto.id == PhotoVote.photo_id)
        .where(ReviewedPhoto.review_id == review_id, PhotoVote.actor == by, _COUNTS)
        .order_by(PhotoVote.id.desc())
    )
    found = session.scalar(query.limit(1))
    return None if found is None else VoteId(found)


def photo_of(session: Session, review_id: PhotoReviewId, vote_id: VoteId, *, by: str) -> ReviewedPhotoId | None:
    """The photo of a vote of this person in a review, withdrawn or not; None without such a vote."""
    query = (
        select(ReviewedPhoto.id)
        .join(PhotoVote, PhotoVote.photo_id == ReviewedPhoto.id)
        .where(ReviewedPhoto.review_id == review_id, PhotoVote.id == vote_id, PhotoVote.actor == by)
    )
    found = session.scalar(query)
    return None if found is None else ReviewedPhotoId(found)


def withdraw(session: Session, vote_id: VoteId, photo_id: ReviewedPhotoId, *, by: str, lease: timedelta) -> bool:
    """Withdraws a vote and claims its photo, unless another person holds it; returns whether the vote counted.

    The caller holds the lock of the photo.
    """
    counted = update(PhotoVote).where(PhotoVote.id == vote_id, _COUNTS).values(withdrawn_at=func.clock_timestamp())
    if session.execute(counted.returning(PhotoVote.id)).one_or_none() is None:
        return False
    _recount(session, photo_id)
    if session.scalar(select(ReviewedPhoto.id).where(ReviewedPhoto.id == photo_id, _IS_FREE)) is not None:
        _hold(session, photo_id, by, lease)
    return True


def put_last(session: Session, photo_id: ReviewedPhotoId) -> None:
    """Moves a photo to the end of its review and ends the claim. The caller holds its lock."""
    photo = select(ReviewedPhoto.review_id).where(ReviewedPhoto.id == photo_id).scalar_subquery()
    last = select(func.max(ReviewedPhoto.place) + 1).where(ReviewedPhoto.review_id == photo).scalar_subquery()
    moved = update(ReviewedPhoto).where(ReviewedPhoto.id == photo_id)
    moved = moved.values(place=last, claimed_by=None, lease_until=None)
    session.execute(moved, execution_options={"synchronize_session": False})


def counted_votes(session: Session, review_id: PhotoReviewId) -> list[GivenVote]:
    """The votes of a review that count, by photo and in the order in which they were given."""
    number = func.row_number().over(partition_by=PhotoVote.photo_id, order_by=PhotoVote.id)
    rows = session.execute(
        select(
            PhotoVote.photo_id,
            Message.thread_id,
            PhotoVote.actor,
            PhotoVote.good,
            number.label("number"),
            ReviewedPhoto.reviewers,
        )
        .join(ReviewedPhoto, ReviewedPhoto.id == PhotoVote.photo_id)
        .join(Attachment, Attachment.id == ReviewedPhoto.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(ReviewedPhoto.review_id == review_id, _COUNTS)
        .order_by(ReviewedPhoto.place, PhotoVote.id)
    )
    return [
        GivenVote(
            ReviewedPhotoId(row.photo_id), ThreadId(row.thread_id), row.actor, row.good, row.number, row.reviewers
        )
        for row in rows
    ]


def _waiting(review_id: PhotoReviewId, by: str) -> Select[Any]:
    """The photos of a review that wait for this person's vote."""
    return (
        select(ReviewedPhoto.id)
        .join(Attachment, Attachment.id == ReviewedPhoto.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(ReviewedPhoto.review_id == review_id, TO_VOTE, ~_voted(by))
        .where(bytes_are_there(), Message.forgotten_at.is_(None))
    )


def _voted(by: str) -> ColumnElement[bool]:
    return exists().where(PhotoVote.photo_id == ReviewedPhoto.id, PhotoVote.actor == by, _COUNTS)


def _recount(session: Session, photo_id: ReviewedPhotoId, **claim: None) -> None:
    """Counts the votes of a photo again, and wants a third one if two disagree where two were to vote."""
    of_photo = (PhotoVote.photo_id == photo_id) & _COUNTS
    n, n_good = session.execute(select(func.count(), func.count().filter(PhotoVote.good)).where(of_photo)).one()
    wanted = func.greatest(ReviewedPhoto.reviewers, _ON_DISAGREEMENT if 0 < n_good < n else 0)
    changed = update(ReviewedPhoto).where(ReviewedPhoto.id == photo_id).values(votes=n, wanted=wanted, **claim)
    session.execute(changed, execution_options={"synchronize_session": False})


def _hold(session: Session, photo_id: ReviewedPhotoId, by: str, lease: timedelta) -> None:
    held = update(ReviewedPhoto).where(ReviewedPhoto.id == photo_id)
    held = held.values(claimed_by=by, lease_until=func.clock_timestamp() + lease)
    session.execute(held, execution_options={"synchronize_session": False})
