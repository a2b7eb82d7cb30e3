"""The description of a data set as in the paper: votes and skin types in each split, and the reviewers' agreement."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto, Manifest, Split
from triage.evaluation.labelled import FITZPATRICK_GROUPS, fitzpatrick_group
from triage.statistics.agreement import alpha_with_interval, are_unanimous, kappa_with_interval
from triage.statistics.arrays import Floats

_NOT_SPLIT: Final = "not split"


def describe(manifest: Manifest, *, good_votes: int = 2) -> dict[str, Any]:
    """Tables 1 and 3 of Jeong et al. 2024 (doi:10.1016/j.xjidi.2024.100285) for a data set, as JSON types.

    Returns:
        `{n, n_reviewers, good_votes, votes_per_photo{}, n_good, by_split{split: {n, patients, votes[K+1], n_good,
        fitzpatrick{}, sources{}}}, reviewers, agreement}`; the last two are None without the votes of each reviewer.
    """
    splits = {split.value: manifest.of(split) for split in Split} | {
        _NOT_SPLIT: [photo for photo in manifest.photos if photo.split is None]
    }
    known = [photo for photo in manifest.photos if photo.reviews]
    return {
        "n": len(manifest.photos),
        "n_reviewers": manifest.n_reviewers,
        "good_votes": good_votes,
        "votes_per_photo": {str(n): count for n, count in manifest.votes_per_photo().items()},
        "n_good": sum(photo.is_good(good_votes, manifest.n_reviewers) for photo in manifest.photos),
        "by_split": {
            name: describe_split(photos, manifest.n_reviewers, good_votes) for name, photos in splits.items() if photos
        },
        "reviewers": _table_3(known, manifest.reviewers) if known else None,
        "agreement": _agreement(known, manifest.reviewers) if known else None,
    }


def describe_split(photos: Sequence[LabelledPhoto], n_reviewers: int, good_votes: int) -> dict[str, Any]:
    """A column of table 1, `{n, patients, votes[K+1], n_good, fitzpatrick{}, sources{}}`.

    `patients` is None if a photo has none.
    """
    patients = {photo.patient for photo in photos}
    skin_types = Counter(fitzpatrick_group(photo.fitzpatrick) for photo in photos)
    return {
        "n": len(photos),
        "patients": None if None in patients else len(patients),
        "votes": count_by_votes(photos, n_reviewers),
        "n_good": sum(photo.is_good(good_votes, n_reviewers) for photo in photos),
        "fitzpatrick": {group: skin_types[group] for group in FITZPATRICK_GROUPS} | {"not given": skin_types[None]},
        "sources": dict(sorted(Counter(photo.source or "not given" for photo in photos).items())),
    }


def count_by_votes(photos: Sequence[LabelledPhoto], n_reviewers: int) -> list[int]:
    """Of the photos that K reviewers voted on, how many have 0, 1, ... K votes."""
    votes = Counter(photo.votes for photo in photos if photo.n_votes in {None, n_reviewers})
    return [votes[number] for number in range(n_reviewers + 1)]


def _table_3(photos: Sequence[LabelledPhoto], reviewers: Sequence[str]) -> list[dict[str, Any]]:
    """For each reviewer: photos rated, photos rated good, and agreement with the majority of the others."""
    table = []
    for index, reviewer in enumerate(reviewers):
        rated = [(photo.reviews[index], photo) for photo in photos if photo.reviews[index] is not None]
        good = sum(vote or 0 for vote, _ in rated)
        compared = [
            (vote, others)
            for vote, photo in rated
            if (others := _majority([r for i, r in enumerate(photo.reviews) if i != index])) is not None
        ]
        table.append(
            {
                "reviewer": reviewer,
                "n": len(rated),
                "good": good,
                "good_share": good / len(rated) if rated else None,
                "with_majority": sum(vote == others for vote, others in compared) / len(compared) if compared else None,
            }
        )
    return table


def _majority(reviews: Sequence[int | None]) -> int | None:
    """The majority vote; None without votes or with a tie."""
    given = [review for review in reviews if review is not None]
    balance = 2 * sum(given) - len(given)
    return None if balance == 0 else int(balance > 0)


def _agreement(photos: Sequence[LabelledPhoto], reviewers: Sequence[str]) -> dict[str, Any]:
    """Agreement beyond chance, with intervals by resampling patients."""
    ratings = np.array([[np.nan if r is None else r for r in photo.reviews] for photo in photos], dtype=float)
    patients = [photo.patient if photo.patient is not None else index for index, photo in enumerate(photos)]
    compared = ratings[(~np.isnan(ratings)).sum(axis=1) >= 2]
    alpha, interval = alpha_with_interval(ratings, patients)
    return {
        "n": len(compared),
        "krippendorff_alpha": alpha,
        "krippendorff_alpha_ci": interval,
        "unanimous_share": float(are_unanimous(compared).mean()) if len(compared) else None,
        "kappa": [
            {"reviewers": [reviewers[a], reviewers[b]], **_kappa(ratings[:, [a, b]], patients)}
            for a, b in combinations(range(len(reviewers)), 2)
        ],
    }


def _kappa(pair: Floats, patients: Sequence[Hashable]) -> dict[str, Any]:
    """Cohen's kappa of two reviewers: (N, 2)."""
    both = ~np.isnan(pair).any(axis=1)
    rated = pair[both]
    theirs = [patients[row] for row in np.flatnonzero(both).tolist()]
    kappa, interval = kappa_with_interval(rated, theirs)
    return {"n": len(rated), "kappa": kappa, "interval": interval}
