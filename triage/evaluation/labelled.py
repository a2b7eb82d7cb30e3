"""Scores of labelled photos as predictions that an evaluation reads."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto
from triage.evaluation.predictions import Predictions
from triage.statistics.auc import Scores

SUBGROUPS: Final = ("source", "fitzpatrick")
"""Columns that every manifest has, if only empty, and that an evaluation should always be broken down by."""


def predictions_of(scores: Scores, labels: Sequence[LabelledPhoto]) -> Predictions:
    """Joins scores with votes, ratings where every photo has one, and all columns to group by.

    Skin types are grouped as in the paper, I-III and IV-VI.
    """
    ratings = [label.rating for label in labels]
    names = dict.fromkeys(name for label in labels for name in label.others)
    columns = {
        "source": [label.source or "" for label in labels],
        "fitzpatrick": [_fitzpatrick_group(label.fitzpatrick) for label in labels],
        **{name: [label.others.get(name, "") for label in labels] for name in names},
    }
    return Predictions(
        scores=scores,
        votes=np.array([label.votes for label in labels], dtype=np.int64),
        ratings=None if None in ratings or not ratings else np.array(ratings, dtype=np.float64),
        columns=columns,
    )


def _fitzpatrick_group(skin_type: str | None) -> str:
    if skin_type is None:
        return ""
    return "I-III" if skin_type in {"I", "II", "III"} else "IV-VI"
