"""Reviewers' votes from a REDCap export in long format: one row for each reviewer and record.

The labelling procedure is that of Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285.
"""

from collections import defaultdict
from pathlib import Path
from typing import Final

from triage.dataset.manifest import LabelledPhoto, Manifest, bounding_box, fitzpatrick_type, refuse, votes_of
from triage.dataset.tables import Row, read_table
from triage.errors import UsageError
from triage.files.kinds import is_file

_YES: Final = frozenset({"1", "yes", "true", "checked", "sufficient"})
_NO: Final = frozenset({"0", "no", "false", "unchecked", "insufficient"})


def import_redcap(
    export: Path,
    *,
    photos: Path,
    record_column: str = "record_id",
    reviewer_column: str = "reviewer",
    vote_column: str = "quality",
    photo_column: str | None = None,
) -> Manifest:
    """Joins the rows of each record into one labelled photo.

    Args:
        export: CSV in UTF-8, raw or labelled. `source`, `fitzpatrick`, `patient` and `box_...` of a record come from
            its first row that has them.
        photos: the folder of the photos.
        record_column: the record's id.
        reviewer_column: the reviewer's name.
        vote_column: 1, yes or checked for a photo that is good enough for the chart; 0, no or unchecked for another;
            empty where the reviewer did not vote.
        photo_column: the photo's file name; without one, the record's id is the file name, with any suffix.

    Raises:
        UsageError: the export cannot be read, or rows are invalid; the message names each with its line.
    """
    columns, rows = read_table(export)
    needed = [record_column, reviewer_column, vote_column, *([photo_column] if photo_column else [])]
    if missing := [name for name in needed if name not in columns]:
        raise UsageError(f"{export}: the export lacks the column {', '.join(missing)}: give the names of its columns")
    by_stem: dict[str, list[Path]] = defaultdict(list)
    try:
        for file in sorted(photos.iterdir()):
            by_stem[file.stem].append(file)
    except OSError as error:
        raise UsageError(f"{photos}: no such folder of photos") from error

    records: dict[str, list[Row]] = defaultdict(list)
    votes: dict[tuple[str, str], int] = {}
    defects: list[str] = []
    for row in rows:
        record = row.text(record_column)
        if not record:
            defects.append(f"line {row.line}: no record")
            continue
        records[record].append(row)
        try:
            vote = _vote(row.text(vote_column))
            reviewer = row.name(reviewer_column)
        except ValueError as error:
            defects.append(f"line {row.line}: {error}")
            continue
        if vote is None:
            continue
        if not reviewer:
            defects.append(f"line {row.line}: a vote without a reviewer")
        elif votes.setdefault((record, reviewer), vote) != vote:
            defects.append(f"line {row.line}: this reviewer has another vote on the same record")
    reviewers = sorted({reviewer for _, reviewer in votes})
    labelled: list[LabelledPhoto] = []
    seen: set[Path] = set()
    for record, of_record in records.items():
        try:
            reviews = tuple(votes.get((record, reviewer)) for reviewer in reviewers)
            path = _file(of_record, record, photos, photo_column, by_stem)
            if path in seen:
                raise ValueError("another record has the same photo")
            seen.add(path)
            labelled.append(_photo(of_record, reviews, path))
        except ValueError as error:
            defects.append(f"line {of_record[0].line}: {error}")
    refuse(export, defects)
    if not labelled:
        raise UsageError(f"{export}: the export has no rows")
    return Manifest(tuple(labelled), len(reviewers), tuple(reviewers))


def _vote(text: str) -> int | None:
    word = text.casefold()
    if not word:
        return None
    if word in _YES:
        return 1
    if word in _NO:
        return 0
    raise ValueError("a vote must be 1 or 0, yes or no, checked or unchecked")


def _file(rows: list[Row], record: str, folder: Path, photo_column: str | None, by_stem: dict[str, list[Path]]) -> Path:
    if photo_column is not None:
        name = _first(rows, photo_column)
        if not name or not is_file(folder / name):
            raise ValueError("the folder of photos has no file of this name")
        return folder / name
    files = by_stem.get(record, [])
    if len(files) != 1:
        raise ValueError(f"the folder of photos has {len(files)} files with the name of this record, not one")
    return files[0]


def _photo(rows: list[Row], reviews: tuple[int | None, ...], path: Path) -> LabelledPhoto:
    boxes = [box for row in rows if (box := bounding_box(row)) is not None]
    return LabelledPhoto(
        path=path,
        votes=votes_of(reviews),
        reviews=reviews,
        source=_first_name(rows, "source"),
        fitzpatrick=fitzpatrick_type(_first(rows, "fitzpatrick")),
        patient=_first_name(rows, "patient"),
        box=boxes[0] if boxes else None,
    )


def _first(rows: list[Row], column: str) -> str:
    return next((text for row in rows if (text := row.text(column))), "")


def _first_name(rows: list[Row], column: str) -> str | None:
    return next((name for row in rows if (name := row.name(column))), None)
