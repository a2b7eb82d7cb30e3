"""The scores of labelled photos as predictions, the input of an evaluation."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto
from triage.evaluation.predictions import Predictions
from triage.statistics.auc import Scores

SUBGROUPS: Final = ("source", "fitzpatrick")
"""Columns of every manifest, possibly empty, that each evaluation is broken down by."""

FITZPATRICK_GROUPS: Final = ("I-III", "IV-VI")


def predictions_of(scores: Scores, labels: Sequence[LabelledPhoto], n_reviewers: int) -> Predictions:
    """Joins scores with votes, with ratings if every photo has one, and with all columns to group by.

    Skin types are grouped as in the paper: I-III and IV-VI.

    Args:
        scores: float64 (N,), 0..1.
        labels: the manifest's rows, in the same order.
        n_reviewers: K.
    """
    ratings = [label.rating for label in labels]
    patients = [f"photo {row}" if label.patient is None else label.patient for row, label in enumerate(labels)]
    names = dict.fromkeys(name for label in labels for name in label.others)
    columns = {
        "source": [label.source or "" for label in labels],
        "fitzpatrick": [fitzpatrick_group(label.fitzpatrick) or "" for label in labels],
        **{name: [label.others.get(name, "") for label in labels] for name in names},
    }
    return Predictions(
        scores=scores,
        votes=np.array([label.votes * n_reviewers / (label.n_votes or n_reviewers) for label in labels]),
        ratings=None if None in ratings or not ratings else np.array(ratings, dtype=np.float64),
        columns=columns,
        ids=[str(label.path) for label in labels],
        patients=patients if any(label.patient is not None for label in labels) else (),
    )


def fitzpatrick_group(skin_type: str | None) -> str | None:
    """Returns the group of a Fitzpatrick skin type as in the paper, `I-III` or `IV-VI`; None if it is not given."""
    if skin_type is None:
        return None
    return "I-III" if skin_type in {"I", "II", "III"} else "IV-VI"
