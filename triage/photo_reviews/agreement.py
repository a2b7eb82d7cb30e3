"""How far a photo review is, and how well its reviewers agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from triage.domain.ids import PhotoReviewId, ReviewedPhotoId, ThreadId
from triage.domain.photo_reviews import PhotoReview
from triage.errors import NotFoundError
from triage.statistics.agreement import alpha_with_interval, are_unanimous, kappa_with_interval
from triage.statistics.arrays import Floats
from triage.statistics.confidence import Interval
from triage.statistics.proportions import Share
from triage.storage import photo_reviews, photo_votes
from triage.storage.database import Sessions
from triage.storage.photo_votes import GivenVote
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two reviewers over the photos on which both voted.

    Attributes:
        n: number of these photos.
        agreed: those on which both voted alike.
        kappa: Cohen's; None if both voted alike on all with a single vote.
        interval: of kappa, 95 %, by resampling threads; None if it is not defined.
    """

    reviewers: tuple[str, str]
    n: int
    agreed: int
    kappa: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """A reviewer's votes that count, and how many of them are `good`."""

    reviewer: str
    votes: int
    good: int


@dataclass(frozen=True, slots=True)
class ReviewAgreement:
    """The agreement of a review's reviewers.

    Only the votes that were planned from the start count: a third one is asked for where two disagree, so it would
    lower the agreement by the rule that asks for it.

    Attributes:
        review: the review and how far it is.
        observed: photos on which all planned votes agree, of those that have at least two, and all of them.
        alpha: Krippendorff's, of all planned votes; None without two votes on a photo, or if all votes are equal.
        alpha_interval: 95 %, by resampling threads, because photos of one patient are alike; None if not defined.
        pairs: by two reviewers.
        reviewers: the progress of each.
    """

    review: PhotoReview
    observed: Share
    alpha: float | None
    alpha_interval: Interval | None
    pairs: Sequence[PairAgreement]
    reviewers: Sequence[ReviewerProgress]


@use_case
def agreement(sessions: Sessions, review_id: PhotoReviewId) -> ReviewAgreement:
    """Measures the agreement of a review. Do not show it to a person who still votes.

    Raises:
        NotFoundError: no review has this id.
    """
    with sessions() as session:
        review = photo_reviews.find(session, review_id)
        if review is None:
            raise NotFoundError("no photo review has this id: list the reviews")
        votes = photo_votes.counted_votes(session, review_id)
    names = sorted({vote.actor for vote in votes})
    counted = [vote for vote in votes if vote.number <= vote.planned]
    photos = {vote.photo_id: vote for vote in counted}
    threads = [vote.thread_id for vote in photos.values()]
    table = _table(counted, list(photos), names)  # (N, R), NaN where a reviewer has no vote
    planned = np.array([vote.planned for vote in photos.values()])
    full = table[((~np.isnan(table)).sum(axis=1) == planned) & (planned >= 2)]
    pairs = [_pair(table[:, [a, b]], (names[a], names[b]), threads) for a, b in combinations(range(len(names)), 2)]
    given, good = Counter(vote.actor for vote in votes), Counter(vote.actor for vote in votes if vote.good)
    return ReviewAgreement(
        review,
        Share(int(are_unanimous(full).sum()), len(full)),
        *alpha_with_interval(table, threads),
        [pair for pair in pairs if pair.n],
        [ReviewerProgress(name, given[name], good[name]) for name in names],
    )


@use_case
def blind_reviews(sessions: Sessions, *, by: str) -> set[PhotoReviewId]:
    """The reviews whose agreement and counts must be hidden from this person, who has voted in them.

    A withdrawn vote also counts: the person may vote again. A closed review takes no votes.
    """
    with sessions() as session:
        return photo_votes.reviewed_by(session, by)


def _pair(table: Floats, reviewers: tuple[str, str], threads: Sequence[ThreadId]) -> PairAgreement:
    """Two reviewers with their votes (N, 2), of which only photos with both count."""
    both = np.flatnonzero(~np.isnan(table).any(axis=1))
    rated = table[both]
    kappa, interval = kappa_with_interval(rated, [threads[row] for row in both.tolist()])
    agreed = int((rated[:, 0] == rated[:, 1]).sum())
    return PairAgreement(reviewers, len(rated), agreed, kappa, interval)


def _table(votes: Sequence[GivenVote], photos: Sequence[ReviewedPhotoId], names: Sequence[str]) -> Floats:
    rows = {photo_id: row for row, photo_id in enumerate(photos)}
    columns = {name: column for column, name in enumerate(names)}
    table = np.full((len(photos), len(names)), np.nan)
    for vote in votes:
        table[rows[vote.photo_id], columns[vote.actor]] = vote.good
    return table
