"""Labelled photos as a CSV: `path` and `votes`, and optionally `split` (train, validation or test)."""

import csv
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from triage.errors import UsageError

_MAX_DEFECTS_SHOWN: Final = 5


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo and how many of its reviewers found it good enough for the chart."""

    path: Path
    votes: int
    split: Split


def read_manifest(path: Path, *, n_reviewers: int = 4) -> list[LabelledPhoto]:
    """Reads a manifest. Paths are relative to the manifest's folder; without a `split`, all photos are for training.

    Raises:
        UsageError: the file cannot be read, or rows are wrong: each with its line, all at once.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"path", "votes"} - set(reader.fieldnames or ())
            if missing:
                raise UsageError(f"{path}: the manifest lacks the columns {', '.join(sorted(missing))}")
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: the manifest cannot be read as CSV in UTF-8") from error

    photos: list[LabelledPhoto] = []
    defects: list[str] = []
    for line, row in rows:
        try:
            photos.append(_photo(path.parent, row, n_reviewers))
        except ValueError as error:
            defects.append(f"line {line}: {error}")
    if defects:
        shown = "; ".join(defects[:_MAX_DEFECTS_SHOWN])
        more = f"; and {len(defects) - _MAX_DEFECTS_SHOWN} more" if len(defects) > _MAX_DEFECTS_SHOWN else ""
        raise UsageError(f"{path}: {shown}{more}")
    if not any(photo.split is Split.TRAIN for photo in photos):
        raise UsageError(f"{path}: the manifest has no photos to train on")
    return photos


def _photo(folder: Path, row: dict[str, str | None], n_reviewers: int) -> LabelledPhoto:
    name, votes, split = ((row.get(key) or "").strip() for key in ("path", "votes", "split"))
    if not name:
        raise ValueError("no path")
    if not votes.isdigit() or int(votes) > n_reviewers:
        raise ValueError(f"votes must be a whole number from 0 to {n_reviewers}")
    if split not in {"", *Split}:
        raise ValueError(f"split must be one of {', '.join(Split)}")
    if not (folder / name).is_file():
        raise ValueError("there is no file at its path")
    return LabelledPhoto(folder / name, int(votes), Split(split or Split.TRAIN))
