"""Scores with the votes of reviewers: from a table, or from a model on labelled photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from triage.dataset.defects import refuse
from triage.dataset.tables import Row, read_table
from triage.dataset.votes import levels_of_votes, usual_number, whole_number
from triage.errors import UsageError
from triage.statistics.arrays import Floats
from triage.statistics.auc import Labels, Scores

_KNOWN: Final = frozenset({"path", "score", "votes", "n_reviewers", "rating", "patient"})


@dataclass(frozen=True, slots=True)
class Predictions:
    """One row a photo.

    Attributes:
        scores: float64 (N,), in [0, 1].
        votes: float64 (N,), 0 or more. If fewer or more than K reviewers voted on a photo, K times the share of yes.
        ratings: float64 (N,), a continuous rating of each photo, such as a mean opinion score.
        columns: further properties of the photos by name, to group by.
        patients: of each photo; empty if they are not known.
        ids: of each photo, such as its path; empty if they are not known.
        grades: float64 (N,), the predicted numbers of votes; None if they are not known.
        cumulative: float64 (N, K), P(votes >= 1) ... P(votes >= K); None if they are not known.
        levels: float64 (N, K), what the votes say at each of these cuts, as `triage.dataset.votes.levels_of_votes`.
        uncalibrated: as `cumulative`, before the recalibration; None without one.
    """

    scores: Scores
    votes: NDArray[np.float64]
    ratings: Scores | None = None
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    patients: Sequence[str] = field(default=(), repr=False)
    ids: Sequence[str] = field(default=(), repr=False)
    grades: Scores | None = None
    cumulative: Floats | None = None
    levels: Floats | None = None
    uncalibrated: Floats | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def good(self, good_votes: int) -> Labels:
        """Which photos have at least this number of votes: bool (N,)."""
        labels: Labels = self.votes >= good_votes
        return labels


def levels_of(yes: Sequence[int], of: Sequence[int | None], n_reviewers: int) -> Floats:
    """As `triage.dataset.votes.levels_of_votes` for each photo: float64 (N, K).

    Args:
        yes: the yes votes on each photo.
        of: the votes on it; None for all K.
        n_reviewers: K.
    """
    rows = [
        levels_of_votes(min(votes, n or n_reviewers), n or n_reviewers, n_reviewers)
        for votes, n in zip(yes, of, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), n_reviewers)


def read_predictions(path: Path) -> Predictions:
    """Reads a table with the columns `score` and `votes`, optionally `rating`, `patient` and others.

    With `n_reviewers`, the number of those who voted on each photo, votes count as their share of K, the usual number.
    With `cumulative_1` to `cumulative_K`, each cut can be evaluated.

    Raises:
        UsageError: the file cannot be read, or rows are invalid; the message names each with its line.
    """
    names, rows = read_table(path, ("score", "votes"))
    if missing := [name for name in ("score", "votes") if name not in names]:
        raise UsageError(f"{path}: the predictions lack the column {', '.join(missing)}")
    if not rows:
        raise UsageError(f"{path}: the predictions have no rows")
    scores, votes, ratings = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    asked: list[int] = []
    cuts = _cuts(names)
    cumulative = np.empty((len(rows), len(cuts)))
    defects: list[tuple[int, str]] = []
    for index, row in enumerate(rows):
        try:
            scores[index] = _probability(row, "score")
            cumulative[index] = [_probability(row, cut) for cut in cuts]
            votes[index] = whole_number("votes", row.text("votes"))
            if "n_reviewers" in names:
                asked.append(_asked(row, votes[index]))
            if "rating" in names:
                ratings[index] = _rating(row)
        except ValueError as error:
            defects.append((row.line, str(error)))
    refuse(path, defects)
    levels = levels_of(votes.astype(int).tolist(), asked or [None] * len(rows), len(cuts)) if cuts else None
    if asked:
        votes = votes * usual_number(asked) / np.array(asked)
    others = [name for name in names if name and name not in _KNOWN]
    columns = {name: [row.text(name) for row in rows] for name in others}
    return Predictions(
        scores,
        votes,
        ratings if "rating" in names else None,
        columns,
        [row.text("patient") or f"line {row.line}" for row in rows] if "patient" in names else (),
        [row.text("path") for row in rows] if "path" in names else (),
        _grades(rows) if "grade" in names else None,
        cumulative if cuts else None,
        levels,
    )


def _cuts(names: Sequence[str]) -> list[str]:
    """The columns `cumulative_1` to `cumulative_K`."""
    every = (f"cumulative_{cut}" for cut in count(1))
    return list(takewhile(names.__contains__, every))


def _probability(row: Row, column: str) -> float:
    value = row.number(column)
    if value is None or not 0 <= value <= 1:
        raise ValueError(f"{column} must be a number from 0 to 1")
    return value


def _asked(row: Row, votes: float) -> int:
    asked = whole_number("n_reviewers", row.text("n_reviewers"))
    if asked < max(1, votes):
        raise ValueError("n_reviewers must be the number of those who voted, at least 1 and the number of votes")
    return asked


def _grades(rows: Sequence[Row]) -> Scores | None:
    """The grades; None if the column holds something else."""
    texts = [row.text("grade") for row in rows]
    return np.array(texts, dtype=np.float64) if all(text.isascii() and text.isdigit() for text in texts) else None


def _rating(row: Row) -> float:
    if (rating := row.number("rating")) is None:
        raise ValueError("rating must be a number")
    return rating
