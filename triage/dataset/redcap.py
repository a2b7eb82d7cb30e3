"""Reviewers' votes from a REDCap export in long format: one row for each reviewer and photo.

The labelling procedure is that of Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from triage.dataset.manifest import (
    BOX,
    MAX_REVIEWERS,
    LabelledPhoto,
    Manifest,
    bounding_box,
    fitzpatrick_type,
    refuse,
    votes_of,
)
from triage.dataset.photo_folder import PhotoFolder
from triage.dataset.tables import Row, read_table
from triage.errors import UsageError

_YES: Final = frozenset({"1", "yes", "true", "checked", "sufficient"})
_NO: Final = frozenset({"0", "no", "false", "unchecked", "insufficient"})
_INSTANCE: Final = (
    *("redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance"),
    *("Event Name", "Repeat Instrument", "Repeat Instance"),  # in exports with labels as headers
)
_PROPERTIES: Final = ("source", "fitzpatrick", "patient", *BOX)
_SEVERAL_INSTANCES: Final = (
    "this reviewer has another vote on the same record: if its instances are different photos, "
    "give the column of their file names"
)
_MAX_LINES: Final = 10
_Value = TypeVar("_Value")


class Unused(StrEnum):
    """Why a row gives no vote. The properties of its photo are read nevertheless."""

    NO_REVIEW = "without a review"
    NOT_RATED = "not rated yet"
    MISSING = "with a code for missing data"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Export:
    """A manifest made from an export, and an account of what was read.

    Attributes:
        manifest: the photos with at least one vote.
        columns: names of the columns that were used.
        n_other_columns: number of the other columns.
        n_rows: number of rows that are not blank; each gives one vote, or counts in `unused_rows`.
        unused_rows: numbers of rows by reason.
        n_unrated: number of photos in the export that are not in the manifest, because they have no vote.
        n_other_files: number of files among the photos that the export does not name.
        ambiguous: numbers of photos whose rows differ in a property, by property; the first row with it counts.
    """

    manifest: Manifest
    columns: Sequence[str]
    n_other_columns: int
    n_rows: int
    unused_rows: Mapping[Unused, int]
    n_unrated: int
    n_other_files: int
    ambiguous: Mapping[str, int]


def import_redcap(
    export: Path,
    *,
    photos: Path,
    record_column: str = "record_id",
    reviewer_column: str = "reviewer",
    vote_column: str = "quality",
    photo_column: str | None = None,
    missing: Collection[str] = (),
) -> Export:
    """Joins the rows of each photo into one labelled photo.

    With a photo column, a record can have several photos, such as the instances of a repeating instrument: rows that
    name different files are different photos of one patient, rows that name the same file are its reviewers. Rows
    without a file name belong to the record's only photo, or describe all of its photos.

    Args:
        export: delimited text or Parquet, raw or labelled. `source`, `fitzpatrick`, `patient` and `box_...` of a photo
            come from its first row that has them, then from the record's rows without a photo. Other columns are not
            read and may share names.
        photos: the folder of the photos.
        record_column: the record's id. It is also the patient of photos from a photo column, unless `patient` is given.
        reviewer_column: the reviewer's name.
        vote_column: 1, yes or checked for a photo that is good enough for the chart; 0, no or unchecked for another;
            empty where the reviewer did not vote.
        photo_column: the photo's file, relative to the folder; without one, the record's id is the file name, with any
            suffix.
        missing: REDCap's missing data codes of the project, which count as empty.

    Raises:
        UsageError: the export cannot be read, or rows are invalid; the message names each with its line.
    """
    if {code.casefold() for code in missing} & (_YES | _NO):
        raise UsageError("a code for missing data must not also be a vote")
    needed = [record_column, reviewer_column, vote_column, *([photo_column] if photo_column else [])]
    columns, rows = read_table(export, {*needed, *_INSTANCE, *_PROPERTIES}, others=False)
    if absent := [name for name in needed if name not in columns]:
        raise UsageError(f"{export}: the export lacks the column {', '.join(absent)}: give the names of its columns")
    if not rows:
        raise UsageError(f"{export}: the export has no rows")
    reader = _Reader(PhotoFolder(photos), reviewer_column, vote_column, photo_column, frozenset(missing))
    records: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        try:
            record = row.name(record_column)
        except ValueError as error:
            reader.defects.add((row.line, str(error)))
            continue
        if record:
            records[record].append(reader.without_codes(row, keep=(record_column, vote_column)))
        else:
            reader.defects.add((row.line, "no record"))
    for record, of_record in records.items():
        reader.read(record, of_record)
    refuse(export, _by_text(reader.defects))
    read = [name for name in columns if name in {*needed, *_PROPERTIES, *(() if photo_column else _INSTANCE)}]
    return Export(
        manifest=reader.manifest(export),
        columns=read,
        n_other_columns=len(columns) - len(read),
        n_rows=len(rows),
        unused_rows=reader.unused,
        n_unrated=reader.n_unrated,
        n_other_files=reader.folder.count_others(reader.named),
        ambiguous=reader.ambiguous,
    )


@dataclass(slots=True)
class _Reader:
    """Reads the rows of one record after another."""

    folder: PhotoFolder
    reviewer_column: str
    vote_column: str
    photo_column: str | None
    missing: frozenset[str]
    rated: dict[Path, tuple[LabelledPhoto, dict[str, int]]] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    n_unrated: int = 0
    unused: Counter[Unused] = field(default_factory=Counter)
    ambiguous: Counter[str] = field(default_factory=Counter)
    defects: set[tuple[int, str]] = field(default_factory=set)

    def without_codes(self, row: Row, *, keep: Collection[str]) -> Row:
        """The row with codes for missing data as empty cells, but in the columns to keep."""
        values = {name: "" if text in self.missing and name not in keep else text for name, text in row.values.items()}
        return Row(row.line, values)

    def read(self, record: str, rows: Sequence[Row]) -> None:
        photos, shared = self._photos(rows)
        for row in shared:
            if self._review(row) is not None:
                self.defects.add((row.line, f"a vote without a photo: the record names {len(photos)} photos"))
        for name, own in photos.items():
            votes = self._votes(own)
            try:
                path = self.folder.find_record(record) if self.photo_column is None else self.folder.find(name)
            except ValueError as error:
                if votes:
                    self.defects.add((own[0].line, str(error)))
            else:
                self.named.add(path)
                if votes and path.resolve() in self.rated:
                    self.defects.add((own[0].line, "another photo of the export is the same file"))
                elif votes:
                    self.rated[path.resolve()] = self._photo(path, record, own, shared), votes
            self.n_unrated += not votes

    def manifest(self, export: Path) -> Manifest:
        """
        Raises:
            UsageError: there is no vote, or there are too many reviewers for a manifest.
        """
        reviewers = sorted({reviewer for _, votes in self.rated.values() for reviewer in votes})
        if not reviewers:
            raise UsageError(f"{export}: no reviewer has voted: check the column of the votes")
        if len(reviewers) > MAX_REVIEWERS:
            raise UsageError(f"{export}: {len(reviewers)} reviewers: a manifest holds at most {MAX_REVIEWERS}")
        photos = []
        for photo, votes in self.rated.values():
            reviews = tuple(votes.get(reviewer) for reviewer in reviewers)
            photos.append(replace(photo, reviews=reviews, votes=votes_of(reviews)))
        return Manifest(tuple(photos), len(reviewers), tuple(reviewers))

    def _photos(self, rows: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row]]:
        """The rows of each photo of a record by the photo's name, and the rows that belong to none in particular."""
        if self.photo_column is None:
            return {"": list(rows)}, []
        photos: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if name := row.text(self.photo_column):
                photos[str(PurePosixPath(name))].append(row)
        shared = [row for row in rows if not row.text(self.photo_column)]
        if len(photos) == 1:
            next(iter(photos.values())).extend(shared)
            shared = []
        return photos, shared

    def _votes(self, rows: Sequence[Row]) -> dict[str, int]:
        """The votes on one photo by reviewer."""
        votes: dict[str, int] = {}
        firsts: dict[str, Row] = {}
        for row in rows:
            if (review := self._review(row)) is None:
                continue
            reviewer, vote = review
            first = firsts.setdefault(reviewer, row)
            if self.photo_column is None and _instance(first) != _instance(row):
                self.defects.add((row.line, _SEVERAL_INSTANCES))
            elif votes.setdefault(reviewer, vote) != vote:
                self.defects.add((row.line, "this reviewer has another vote on the same photo"))
            elif first is not row:
                self.unused[Unused.REPEATED] += 1
        return votes

    def _review(self, row: Row) -> tuple[str, int] | None:
        """The reviewer and the vote; None if the row has no vote, which is counted, or a defect."""
        text = row.text(self.vote_column)
        try:
            vote = None if text in self.missing else _vote(text)
            reviewer = row.name(self.reviewer_column)
            if vote is not None and not reviewer:
                raise ValueError("a vote without a reviewer")
        except ValueError as error:
            self.defects.add((row.line, str(error)))
            return None
        if vote is not None:
            return reviewer, vote
        self.unused[Unused.MISSING if text else Unused.NOT_RATED if reviewer else Unused.NO_REVIEW] += 1
        return None

    def _photo(self, path: Path, record: str, own: Sequence[Row], shared: Sequence[Row]) -> LabelledPhoto:
        """The photo without its votes."""

        def first(name: str, read: Callable[[Row], _Value | None]) -> _Value | None:
            return self._first(name, read, own) or self._first(name, read, shared)

        patient = first("patient", lambda row: row.name("patient") or None)
        if patient is None and self.photo_column is not None:
            patient = record
        return LabelledPhoto(
            path=path,
            votes=0,
            source=first("source", lambda row: row.name("source") or None),
            fitzpatrick=first("fitzpatrick", lambda row: fitzpatrick_type(row.text("fitzpatrick"))),
            patient=patient,
            box=first("box", bounding_box),
        )

    def _first(self, name: str, read: Callable[[Row], _Value | None], rows: Sequence[Row]) -> _Value | None:
        """The first value of a property."""
        values: dict[_Value, int] = {}
        for row in rows:
            try:
                if (value := read(row)) is not None:
                    values.setdefault(value, row.line)
            except ValueError as error:
                self.defects.add((row.line, str(error)))
        if len(values) > 1 and name == "patient":
            self.defects.add((rows[0].line, "the rows of this photo name several patients"))
        if len(values) > 1:
            self.ambiguous[name] += 1
        return next(iter(values), None)


def _by_text(defects: Collection[tuple[int, str]]) -> list[str]:
    """Each defect once, with its lines."""
    lines: dict[str, list[int]] = defaultdict(list)
    for line, text in sorted(defects):
        lines[text].append(line)
    return [f"{_named(found)}: {text}" for text, found in lines.items()]


def _named(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return f"line {lines[0]}"
    more = f" and {len(lines) - _MAX_LINES} more" if len(lines) > _MAX_LINES else ""
    return f"lines {', '.join(map(str, lines[:_MAX_LINES]))}{more}"


def _vote(text: str) -> int | None:
    word = text.casefold()
    if not word:
        return None
    if word in _YES:
        return 1
    if word in _NO:
        return 0
    raise ValueError("a vote must be 1 or 0, yes or no, checked or unchecked, or a given code for missing data")


def _instance(row: Row) -> list[str]:
    return [row.text(name) for name in _INSTANCE]
