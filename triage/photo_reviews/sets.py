"""Creating, listing and closing photo reviews."""

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Final

from triage.domain.actors import check_actor
from triage.domain.ids import PhotoReviewId
from triage.domain.photo_reviews import PhotoReview, SamplingRule
from triage.errors import NotFoundError, UsageError
from triage.storage import audit, photo_reviews
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@use_case
def create(sessions: Sessions, name: str, rule: SamplingRule, *, by: str) -> PhotoReview:
    """Draws the photos of a new review.

    They are shown in a random order, whatever the rule, so that the order tells nothing about the scores. If one person
    votes on each photo, photos near the threshold, and a share of all at random, get a second reviewer.

    Args:
        sessions: of the worker role.
        name: 1 to 64 letters, digits or `._-`.
        rule: which photos, and how many people vote on each.
        by: actor id of the person.

    Raises:
        UsageError: an argument is malformed, the name is in use, or the rule selects no photo.
    """
    check_name(name)
    check_actor(by)
    rule.checked()
    with sessions.begin() as session:
        review_id = photo_reviews.add(session, name, rule, by=by)
        if review_id is None:
            raise UsageError("a photo review has this name: choose another name")
        drawn = photo_reviews.draw(session, rule)
        if not drawn:
            raise UsageError("the rule selects no photo: take a longer period or fewer conditions")
        drawn.sort(key=lambda photo: _random(f"order:{rule.seed}:{photo.attachment_id}"))
        chosen = sorted(drawn, key=lambda photo: _random(f"second:{rule.seed}:{photo.attachment_id}"))
        second = {photo.attachment_id for photo in chosen[: math.ceil(rule.second_share * len(drawn))]}
        second |= {photo.attachment_id for photo in drawn if photo.is_near}
        added = [(photo.attachment_id, max(rule.votes, 1 + (photo.attachment_id in second))) for photo in drawn]
        photo_reviews.add_photos(session, review_id, added)
        created = photo_reviews.find(session, review_id)
        audit.record(
            session,
            actor=by,
            action="photo_review.created",
            subject_kind="photo_review",
            subject_id=review_id,
            photos=len(added),
        )
    if created is None:  # it was added above
        raise NotFoundError("no photo review has this id: list the reviews")
    return created


@use_case
def list_reviews(
    sessions: Sessions, *, before: PhotoReviewId | None = None, limit: int | None = None
) -> Sequence[PhotoReview]:
    """Returns photo reviews, the newest first.

    Args:
        sessions: of any role.
        before: only reviews that were created before this one.
        limit: at most this number.

    Raises:
        UsageError: the limit is not positive.
    """
    if limit is not None and limit < 1:
        raise UsageError("invalid limit: use at least 1")
    with sessions() as session:
        return photo_reviews.list_reviews(session, before=before, limit=limit)


@use_case
def find(sessions: Sessions, review_id: PhotoReviewId) -> PhotoReview:
    """Returns a photo review.

    Raises:
        NotFoundError: no review has this id.
    """
    with sessions() as session:
        found = photo_reviews.find(session, review_id)
    if found is None:
        raise NotFoundError("no photo review has this id: list the reviews")
    return found


@use_case
def find_by_name(sessions: Sessions, name: str) -> PhotoReview:
    """Returns the photo review with this name.

    Raises:
        NotFoundError: no review has this name.
        UsageError: the name is malformed.
    """
    check_name(name)
    with sessions() as session:
        found = photo_reviews.find_by_name(session, name)
    if found is None:
        raise NotFoundError("no photo review has this name: list the reviews")
    return found


@use_case
def close(sessions: Sessions, review_id: PhotoReviewId, *, by: str) -> None:
    """Closes a review to further votes. Idempotent.

    Raises:
        NotFoundError: no review has this id.
        UsageError: `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        if photo_reviews.find(session, review_id) is None:
            raise NotFoundError("no photo review has this id: list the reviews")
        if photo_reviews.close(session, review_id):
            audit.record(
                session, actor=by, action="photo_review.closed", subject_kind="photo_review", subject_id=review_id
            )


def check_name(name: str) -> str:
    """Returns the name of a photo review unchanged.

    Raises:
        UsageError: it is malformed.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError("invalid name of a photo review: use 1 to 64 letters, digits or `._-`")
    return name


def _random(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
