"""Labels of a manifest that are likely wrong.

Axes: n photos, f features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from triage.dataset.manifest import LabelledPhoto
from triage.dataset.tables import write_table
from triage.errors import UsageError
from triage.labelling.features import PhotoFeatures
from triage.statistics.arrays import Bools, Floats
from triage.statistics.confident_learning import LabelErrors, find_label_errors
from triage.statistics.linear_head import FOLDS, predict_out_of_sample

FEWEST: Final = 20
"""Fewest photos of each class."""

REPEATS: Final = 3
"""Divisions of the patients into folds, over which probabilities are averaged."""

_COLUMNS: Final = ("path", "patient", "split", "votes", "n_reviewers", "label", "predicted", "p_good", "margin")


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photo whose label is likely wrong.

    Attributes:
        is_good: by the given label.
        p_good: by heads that saw no photo of the patient.
        margin: by how much the probability of the other label exceeds that of the given one.
    """

    photo: LabelledPhoto = field(repr=False)
    is_good: bool
    p_good: float
    margin: float


@dataclass(frozen=True, slots=True)
class Suspects:
    """
    Attributes:
        n: photos with a label.
        n_good: those whose label is good.
        good_called_bad: estimated number of photos that are good and have the label bad.
        bad_called_good: estimated number of photos that are bad and have the label good.
        photos: the suspects, the largest margin first.
    """

    n: int
    n_good: int
    good_called_bad: float
    bad_called_good: float
    photos: Sequence[Suspect]


def find_suspects(features: PhotoFeatures, *, good_votes: int, n_reviewers: int, seed: int = 0) -> Suspects:
    """Finds labels that contradict what heads on the network's features learn from the other patients.

    Args:
        features: of labelled photos, by a model that was not trained on these labels.
        good_votes: as `triage.dataset.votes.is_good`.
        n_reviewers: K.
        seed: of the division into folds.

    Raises:
        UsageError: a class has too few photos, or all photos are of one patient.
    """
    photos = features.photos
    check_labels(photos, good_votes=good_votes, n_reviewers=n_reviewers)
    good = np.array([photo.is_good(good_votes, n_reviewers) for photo in photos])
    groups = _patients(photos)
    p_good, errors = find_errors(features.features, good, groups, seed=seed)
    return Suspects(
        len(photos),
        int(good.sum()),
        float(errors.joint[0, 1]),
        float(errors.joint[1, 0]),
        [
            Suspect(photos[row], bool(good[row]), float(p_good[row]), float(margin))
            for row, margin in zip(errors.rows.tolist(), errors.margins.tolist(), strict=True)
        ],
    )


def check_labels(photos: Sequence[LabelledPhoto], *, good_votes: int, n_reviewers: int) -> None:
    """
    Raises:
        UsageError: as `find_suspects`.
    """
    n_good = sum(photo.is_good(good_votes, n_reviewers) for photo in photos)
    n_bad = len(photos) - n_good
    if min(n_good, n_bad) < FEWEST:
        raise UsageError(f"{n_good} good and {n_bad} bad photos: at least {FEWEST} of each are needed")
    if len(set(_patients(photos))) < FOLDS:
        raise UsageError(f"photos of fewer than {FOLDS} patients: label photos of others")


def _patients(photos: Sequence[LabelledPhoto]) -> list[str | int]:
    """The patient of each photo; a photo without one is a patient by itself."""
    return [photo.patient if photo.patient is not None else row for row, photo in enumerate(photos)]


def find_errors(
    features: Floats, good: Bools, groups: Sequence[str | int], *, seed: int = 0
) -> tuple[Floats, LabelErrors]:
    """The probability that each photo is good, float64 (n,), and the labels that contradict it.

    Args:
        features: (n, f).
        good: bool (n,), the given labels.
        groups: of each photo; a probability comes from other groups.
        seed: of the division into folds.
    """
    p_good = predict_out_of_sample(features, good.astype(np.float64), groups, repeats=REPEATS, seed=seed)
    return p_good, find_label_errors(np.stack([1 - p_good, p_good], axis=1), good.astype(np.int64))


def write_suspects(suspects: Suspects, table: Path) -> None:
    """Writes `.parquet` by its suffix, otherwise CSV: path, patient, split, votes, labels, probability and margin.

    Raises:
        UsageError: the file cannot be written.
    """
    folder = table.parent.resolve()
    write_table(table, [_row(suspect, folder) for suspect in suspects.photos], _COLUMNS)


def _row(suspect: Suspect, folder: Path) -> dict[str, str]:
    photo, path = suspect.photo, suspect.photo.path.resolve()
    return {
        "path": str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        "patient": photo.patient or "",
        "split": photo.split or "",
        "votes": str(photo.votes),
        "n_reviewers": str(photo.n_votes),
        "label": "good" if suspect.is_good else "bad",
        "predicted": "bad" if suspect.is_good else "good",
        "p_good": f"{suspect.p_good:.6f}",
        "margin": f"{suspect.margin:.6f}",
    }
