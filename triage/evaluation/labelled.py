"""The scores of labelled photos as predictions, the input of an evaluation."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto
from triage.evaluation.predictions import Predictions, levels_of
from triage.statistics.arrays import Floats

SUBGROUPS: Final = ("source", "fitzpatrick")
"""Columns of every manifest, possibly empty, that each evaluation is broken down by."""

FITZPATRICK_GROUPS: Final = ("I-III", "IV-VI")


def predictions_of(cumulative: Floats, labels: Sequence[LabelledPhoto], good_votes: int) -> Predictions:
    """Joins scores with votes, with ratings if every photo has one, and with all columns to group by.

    Skin types are grouped as in the paper: I-III and IV-VI.

    Args:
        cumulative: float64 (N, K), P(votes >= 1) ... P(votes >= K), 0..1.
        labels: the manifest's rows, in the same order.
        good_votes: the score is P(votes >= good_votes).
    """
    n_reviewers = cumulative.shape[1]
    ratings = [label.rating for label in labels]
    patients = [f"photo {row}" if label.patient is None else label.patient for row, label in enumerate(labels)]
    names = dict.fromkeys(name for label in labels for name in label.others)
    columns = {
        "source": [label.source or "" for label in labels],
        "fitzpatrick": [fitzpatrick_group(label.fitzpatrick) or "" for label in labels],
        **{name: [label.others.get(name, "") for label in labels] for name in names},
    }
    return Predictions(
        scores=cumulative[:, good_votes - 1],
        votes=np.array([label.votes * n_reviewers / (label.n_votes or n_reviewers) for label in labels]),
        ratings=None if None in ratings or not ratings else np.array(ratings, dtype=np.float64),
        columns=columns,
        ids=[str(label.path) for label in labels],
        patients=patients if any(label.patient is not None for label in labels) else (),
        cumulative=cumulative,
        levels=levels_of([label.votes for label in labels], [label.n_votes for label in labels], n_reviewers),
    )


def fitzpatrick_group(skin_type: str | None) -> str | None:
    """Returns the group of a Fitzpatrick skin type as in the paper, `I-III` or `IV-VI`; None if it is not given."""
    if skin_type is None:
        return None
    return "I-III" if skin_type in {"I", "II", "III"} else "IV-VI"
