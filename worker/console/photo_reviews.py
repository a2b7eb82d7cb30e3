"""Photo reviews: create one, vote blind on its photos, and follow the agreement of its reviewers."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from starlette.responses import Response

from triage.domain.ids import PhotoReviewId, ReviewedPhotoId, VoteId
from triage.domain.photo_reviews import (
    MAX_PHOTOS,
    MAX_VOTES,
    REASON_LETTERS,
    EvenlyBy,
    Order,
    PhotoReview,
    SamplingRule,
)
from triage.domain.reporting import Period
from triage.domain.staff import Right
from triage.domain.states import Fitzpatrick
from triage.errors import LeaseLostError, UsageError
from triage.photo_reviews import sets, voting
from triage.photo_reviews.agreement import agreement, blind_reviews
from worker.console.door import POLICY
from worker.console.page import Pages, Visit, template
from worker.console.photo_bytes import show_photo_bytes

REVIEW_PAGES: Final = Pages()

_REVIEWS: Final = template("reviews.html")
_REVIEW: Final = template("review.html")
_VOTE: Final = template("vote.html")

_MAX_DAYS: Final = 36_500
_LISTED: Final = 50
"""Reviews on a page: each is counted from its photos."""
_WITH_SCRIPT: Final = f"{POLICY}; script-src 'self'"
_GOOD: Final = {"good": True, "bad": False}


@REVIEW_PAGES.page("GET", "/reviews", right=Right.DECIDE)
def show_reviews(visit: Visit) -> Response:
    """The newest reviews, or those before the one that the address names, and the form to create one."""
    sessions = visit.services.long_reads
    blind = blind_reviews(sessions, by=visit.staff.actor)
    reviews = sets.list_reviews(sessions, before=_before(visit), limit=_LISTED + 1)
    return visit.render(
        _REVIEWS,
        sees_counts=lambda review: _sees_counts(visit, review, blind),
        reviews=reviews[:_LISTED],
        has_older=len(reviews) > _LISTED,
        orders=[(each.value, visit.texts(f"order.{each}")) for each in Order],
        strata=[(each.value, visit.texts(f"evenly_by.{each}")) for each in EvenlyBy],
        skin_types=Fitzpatrick,
        max_photos=MAX_PHOTOS,
        max_votes=MAX_VOTES,
        rule=SamplingRule(100),
    )


@REVIEW_PAGES.page("POST", "/reviews", right=Right.DECIDE, is_heavy=True)
def create_review(visit: Visit) -> Response:
    """Draws the photos of a new review."""
    created = sets.create(visit.services.long_reads, visit.field("name"), _rule(visit), by=visit.staff.actor)
    return visit.redirect(f"/reviews/{created.id}")


@REVIEW_PAGES.page("GET", "/reviews/{review_id:uuid}", right=Right.DECIDE)
def show_review(visit: Visit) -> Response:
    """A review with the own progress; with the agreement for those who may see it."""
    review_id, sessions, by = _review_id(visit), visit.services.sessions, visit.staff.actor
    review, blind = sets.find(sessions, review_id), blind_reviews(sessions, by=by)
    may_see = visit.may(Right.MANAGE) and review_id not in blind
    voted, left = voting.progress(sessions, review_id, by=by)
    return visit.render(
        _REVIEW,
        review=review,
        sees_counts=_sees_counts(visit, review, blind),
        voted=voted,
        left=left,
        latest=voting.latest_vote(sessions, review_id, by=by),
        blind=review_id in blind,
        found=agreement(visit.services.long_reads, review_id) if may_see else None,
        nothing="nothing" in visit.request.query_params,
    )


@REVIEW_PAGES.page("POST", "/reviews/{review_id:uuid}/next", right=Right.DECIDE)
def take_photo(visit: Visit) -> Response:
    """Claims the next photo and shows it."""
    return _next(visit)


@REVIEW_PAGES.page("GET", "/reviews/{review_id:uuid}/photos/{photo_id:uuid}", right=Right.DECIDE)
def show_reviewed_photo(visit: Visit) -> Response:
    """The photo to vote on, without anything that is known of it. The only page with a script."""
    review_id, photo_id = _review_id(visit), ReviewedPhotoId(visit.uuid("photo_id"))
    photo = voting.show(visit.services.sessions, review_id, photo_id, by=visit.staff.actor)
    latest = voting.latest_vote(visit.services.sessions, review_id, by=visit.staff.actor)
    response = visit.render(_VOTE, review_id=review_id, photo=photo, latest=latest, letters=REASON_LETTERS)
    response.headers["Content-Security-Policy"] = _WITH_SCRIPT
    return response


@REVIEW_PAGES.page("GET", "/reviews/{review_id:uuid}/photos/{photo_id:uuid}/photo.jpg", right=Right.DECIDE)
def send_reviewed_photo(visit: Visit) -> Response:
    """Its bytes, with all pixels."""
    review_id, photo_id = _review_id(visit), ReviewedPhotoId(visit.uuid("photo_id"))
    photo = voting.show(visit.services.sessions, review_id, photo_id, by=visit.staff.actor)
    return show_photo_bytes(visit, photo.message_id, photo.attachment_id, full=True)


@REVIEW_PAGES.page("POST", "/reviews/{review_id:uuid}/photos/{photo_id:uuid}/vote", right=Right.DECIDE)
def vote_on_photo(visit: Visit) -> Response:
    """Votes, and takes the next photo."""
    good = _GOOD.get(visit.field("vote"))
    if good is None:
        raise UsageError("invalid vote: load the page again")
    voting.vote(
        visit.services.sessions,
        _review_id(visit),
        ReviewedPhotoId(visit.uuid("photo_id")),
        good=good,
        reasons=[kind for kind in REASON_LETTERS if f"reason_{kind}" in visit.form],
        by=visit.staff.actor,
    )
    return _next(visit)


@REVIEW_PAGES.page("POST", "/reviews/{review_id:uuid}/photos/{photo_id:uuid}/skip", right=Right.DECIDE)
def skip_photo(visit: Visit) -> Response:
    """Moves the photo to the end, and takes the next one."""
    photo_id = ReviewedPhotoId(visit.uuid("photo_id"))
    with suppress(LeaseLostError):  # a second click
        voting.skip(visit.services.sessions, _review_id(visit), photo_id, by=visit.staff.actor)
    return _next(visit)


@REVIEW_PAGES.page("POST", "/reviews/{review_id:uuid}/undo", right=Right.DECIDE)
def undo_vote(visit: Visit) -> Response:
    """Withdraws the vote that was the latest, and shows its photo again unless another person holds it."""
    lease = visit.console.settings.claim_lease
    try:
        vote = VoteId(UUID(visit.field("vote")))
    except ValueError:
        raise UsageError("the form is incomplete: load the page again") from None
    voting.undo(visit.services.sessions, _review_id(visit), by=visit.staff.actor, lease=lease, vote=vote)
    return _next(visit)


@REVIEW_PAGES.page("POST", "/reviews/{review_id:uuid}/close", right=Right.MANAGE)
def close_review(visit: Visit) -> Response:
    """Takes no further votes."""
    sets.close(visit.services.sessions, _review_id(visit), by=visit.staff.actor)
    return visit.redirect(f"/reviews/{_review_id(visit)}")


def _next(visit: Visit) -> Response:
    review_id, lease = _review_id(visit), visit.console.settings.claim_lease
    photo_id = voting.claim_next(visit.services.sessions, review_id, by=visit.staff.actor, lease=lease)
    if photo_id is None:
        return visit.redirect(f"/reviews/{review_id}?nothing=1")
    return visit.redirect(f"/reviews/{review_id}/photos/{photo_id}")


def _sees_counts(visit: Visit, review: PhotoReview, blind: Collection[PhotoReviewId]) -> bool:
    """Whether the person may see how many votes all have given: after a vote, they tell whether another one differs."""
    return review.closed_at is not None or (visit.may(Right.MANAGE) and review.id not in blind)


def _before(visit: Visit) -> PhotoReviewId | None:
    before = visit.request.query_params.get("before")
    try:
        return PhotoReviewId(UUID(before)) if before else None
    except ValueError:
        raise UsageError("invalid place in the list: open the list again") from None


def _review_id(visit: Visit) -> PhotoReviewId:
    return PhotoReviewId(visit.uuid("review_id"))


def _rule(visit: Visit) -> SamplingRule:
    source = visit.form.get("source", "").strip()
    try:
        days = int(visit.field("days"))
        if not 1 <= days <= _MAX_DAYS:
            raise ValueError
        stratum = visit.form.get("evenly_by", "")
        return SamplingRule(
            size=int(visit.field("size")),
            period=Period(datetime.now(UTC) - timedelta(days=days)),
            order=Order(visit.field("order")),
            evenly_by=EvenlyBy(stratum) if stratum else None,
            source=source or None,
            fitzpatrick=[kind for kind in Fitzpatrick if f"skin_{kind}" in visit.form],
            seed=int(visit.field("seed")),
            votes=int(visit.field("votes")),
            second_share=float(visit.field("second")) / 100,
            near=float(visit.field("near")),
        )
    except ValueError:
        raise UsageError("invalid rule: give numbers in their ranges, and choose from the lists") from None
