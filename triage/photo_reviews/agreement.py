"""How far a photo review is, and how well its reviewers agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from triage.domain.ids import PhotoReviewId
from triage.domain.photo_reviews import PhotoReview
from triage.errors import NotFoundError
from triage.statistics.agreement import krippendorff_alpha, pairwise_kappa
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
    """

    reviewers: tuple[str, str]
    n: int
    agreed: int
    kappa: float | None


@dataclass(frozen=True, slots=True)
class ReviewerProgress:
    """A reviewer's votes that count, and how many of them are `good`."""

    reviewer: str
    votes: int
    good: int


@dataclass(frozen=True, slots=True)
class ReviewAgreement:
    """The agreement of a review's reviewers.

    Only the first two votes on a photo count: a third one is asked for where two disagree, so it would lower the
    agreement by the rule that asks for it.

    Attributes:
        review: the review and how far it is.
        observed: photos on which the first two votes agree, of those with two votes.
        alpha: Krippendorff's, of the same votes; None without two votes on a photo, or if all votes are equal.
        pairs: by two reviewers.
        reviewers: the progress of each.
    """

    review: PhotoReview
    observed: Share
    alpha: float | None
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
    table = _table([vote for vote in votes if vote.number <= 2], names)  # (N, R), NaN where a reviewer has no vote
    twice = table[(~np.isnan(table)).sum(axis=1) == 2]
    alike = np.nanmin(twice, axis=1) == np.nanmax(twice, axis=1) if len(twice) else np.zeros(0, dtype=bool)
    kappas = pairwise_kappa(table)
    pairs = []
    for a, b in combinations(range(len(names)), 2):
        both = ~np.isnan(table[:, a]) & ~np.isnan(table[:, b])
        agreed = int((table[both, a] == table[both, b]).sum())
        if both.any():
            pairs.append(PairAgreement((names[a], names[b]), int(both.sum()), agreed, kappas[a, b]))
    given, good = Counter(vote.actor for vote in votes), Counter(vote.actor for vote in votes if vote.good)
    return ReviewAgreement(
        review,
        Share(int(alike.sum()), len(twice)),
        krippendorff_alpha(table, "nominal"),
        pairs,
        [ReviewerProgress(name, given[name], good[name]) for name in names],
    )


@use_case
def is_blind(sessions: Sessions, review_id: PhotoReviewId, *, by: str) -> bool:
    """Whether the agreement must be hidden from this person, who has voted in a review that takes further votes."""
    with sessions() as session:
        review = photo_reviews.find(session, review_id)
        voted, _ = photo_votes.progress(session, review_id, by=by)
    return review is not None and review.closed_at is None and voted > 0


def _table(votes: Sequence[GivenVote], names: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = {photo_id: row for row, photo_id in enumerate(dict.fromkeys(vote.photo_id for vote in votes))}
    columns = {name: column for column, name in enumerate(names)}
    table = np.full((len(rows), len(names)), np.nan)
    for vote in votes:
        table[rows[vote.photo_id], columns[vote.actor]] = vote.good
    return table
