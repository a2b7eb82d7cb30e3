"""Voting blind: one photo at a time, without its score, its decision and the votes of others."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import AttachmentId, MessageId, PhotoReviewId, ReviewedPhotoId, VoteId
from triage.domain.photo_reviews import REASON_LETTERS, PhotoReview, ReviewedPhoto
from triage.domain.states import FindingKind
from triage.errors import LeaseLostError, NotFoundError, UsageError
from triage.storage import audit, photo_reviews, photo_votes
from triage.storage.database import Sessions
from triage.storage.tables import ReviewedPhoto as StoredPhoto
from triage.storage.use_case import use_case

_LONGEST_LEASE: Final = timedelta(days=1)


@use_case
def claim_next(sessions: Sessions, review_id: PhotoReviewId, *, by: str, lease: timedelta) -> ReviewedPhotoId | None:
    """Claims the next photo that waits for this person's vote; None if there is none.

    A photo has one claim at a time, so its second reviewer votes after the first. The audit trail records who saw the
    photo, and not the claim.

    Args:
        sessions: of the worker role.
        review_id: the review.
        by: actor id of the reviewer.
        lease: how long the photo is held.

    Raises:
        NotFoundError: no review has this id.
        UsageError: the review is closed, or an argument is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        _open(session, review_id)
        return photo_votes.claim_next(session, review_id, by=by, lease=_checked(lease))


@use_case
def show(sessions: Sessions, review_id: PhotoReviewId, photo_id: ReviewedPhotoId, *, by: str) -> ReviewedPhoto:
    """Returns a photo that this person holds, with the person's progress.

    Raises:
        LeaseLostError: the person does not hold it.
        UsageError: `by` is malformed.
    """
    check_actor(by)
    with sessions() as session:
        found = photo_votes.show(session, review_id, photo_id, by=by)
    if found is None:
        raise LeaseLostError("you do not hold this photo: take the next one")
    return found


@use_case
def under_review(sessions: Sessions, message_id: MessageId) -> Collection[AttachmentId]:
    """The photos of a message of which they or copies are in an open review: people who may vote see no scores."""
    with sessions() as session:
        return photo_votes.under_review(session, message_id)


@use_case
def progress(sessions: Sessions, review_id: PhotoReviewId, *, by: str) -> tuple[int, int]:
    """How many photos of a review this person has voted on, and how many more wait for this person."""
    with sessions() as session:
        return photo_votes.progress(session, review_id, by=by)


@use_case
def vote(
    sessions: Sessions,
    review_id: PhotoReviewId,
    photo_id: ReviewedPhotoId,
    *,
    good: bool,
    reasons: Sequence[FindingKind] = (),
    by: str,
) -> None:
    """Records a vote on a photo that this person holds. If it is the second one and differs, a third one is wanted.

    The same vote again has no effect. The audit event names the photo and not the vote, so that the trail keeps
    reviewers blind.

    Args:
        sessions: of the worker role.
        review_id: the review.
        photo_id: its photo.
        good: good enough for the chart.
        reasons: why it is not; none for a good photo.
        by: actor id of the reviewer.

    Raises:
        LeaseLostError: the person does not hold the photo, or another person took it after the claim had ended.
        NotFoundError: no review has this id.
        UsageError: the review is closed, the person has voted otherwise on the photo, or an argument is malformed.
    """
    check_actor(by)
    if (good and reasons) or any(reason not in REASON_LETTERS for reason in reasons):
        raise UsageError("invalid vote: give reasons of the list, and only for a photo that is not good enough")
    with sessions.begin() as session:
        _open(session, review_id)
        names = [kind.value for kind in REASON_LETTERS if kind in reasons]
        photo = photo_votes.lock(session, review_id, photo_id)  # first: the same form may arrive twice at once
        if (mine := photo_votes.vote_of(session, photo_id, by=by)) is not None:
            if (mine.good, mine.reasons) == (good, names):
                return
            raise UsageError("you have voted on this photo: undo the vote to change it")
        held = _held(photo, by)
        if held.votes >= held.wanted:
            raise LeaseLostError("the photo has all its votes: take the next one")
        vote_id = photo_votes.add(session, photo_id, good=good, reasons=names, by=by)
        _record(session, "photo.voted", review_id, photo_id, by, vote=str(vote_id))


@use_case
def skip(sessions: Sessions, review_id: PhotoReviewId, photo_id: ReviewedPhotoId, *, by: str) -> None:
    """Moves a photo that this person holds to the end of the review, such as one that cannot be shown now.

    Raises:
        LeaseLostError: the person does not hold the photo.
        NotFoundError: no review has this id.
        UsageError: the review is closed, or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        _open(session, review_id)
        _held(photo_votes.lock(session, review_id, photo_id), by)
        photo_votes.put_last(session, photo_id)
        _record(session, "photo.skipped", review_id, photo_id, by)


@use_case
def undo(
    sessions: Sessions, review_id: PhotoReviewId, *, by: str, lease: timedelta, vote: VoteId | None = None
) -> ReviewedPhotoId:
    """Withdraws a vote of this person in a review and holds its photo again. The withdrawn vote is kept.

    Args:
        sessions: of the worker role.
        review_id: the review.
        by: actor id of the reviewer.
        lease: how long the photo is held.
        vote: the latest vote when the person looked; None for the latest one. Has no effect if it is withdrawn already,
            so that the same form twice undoes one vote.

    Raises:
        NotFoundError: no review has this id.
        UsageError: the review is closed, the person has no such vote, or an argument is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        _open(session, review_id)
        vote_id = vote or photo_votes.latest(session, review_id, by=by)
        photo_id = photo_votes.photo_of(session, review_id, vote_id, by=by) if vote_id else None
        if vote_id is None or photo_id is None or photo_votes.lock(session, review_id, photo_id) is None:
            raise UsageError("there is no vote to undo")
        if photo_votes.withdraw(session, vote_id, photo_id, by=by, lease=_checked(lease)):
            _record(session, "photo.vote_withdrawn", review_id, photo_id, by, vote=str(vote_id))
    return photo_id


@use_case
def latest_vote(sessions: Sessions, review_id: PhotoReviewId, *, by: str) -> VoteId | None:
    """The vote that `undo` would withdraw."""
    with sessions() as session:
        return photo_votes.latest(session, review_id, by=by)


def _open(session: Session, review_id: PhotoReviewId) -> PhotoReview:
    found = photo_reviews.find(session, review_id)
    if found is None:
        raise NotFoundError("no photo review has this id: list the reviews")
    if found.closed_at is not None:
        raise UsageError("the photo review is closed: it takes no further votes")
    return found


def _held(photo: StoredPhoto | None, by: str) -> StoredPhoto:
    """The photo, if this person holds it."""
    if photo is None or photo.claimed_by != by:
        raise LeaseLostError("you do not hold this photo: take the next one")
    return photo


def _record(
    session: Session, action: str, review_id: PhotoReviewId, photo_id: ReviewedPhotoId, by: str, **details: str
) -> None:
    audit.record(
        session,
        actor=by,
        action=action,
        subject_kind="photo_review",
        subject_id=review_id,
        photo=str(photo_id),
        **details,
    )


def _checked(lease: timedelta) -> timedelta:
    if not timedelta(0) < lease <= _LONGEST_LEASE:
        raise UsageError("invalid lease: use up to a day")
    return lease
