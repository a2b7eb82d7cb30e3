"""The records of a REDCap export: which rows are about which photo, and the votes on each."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

from triage.dataset.manifest import (
    MAX_REVIEWERS,
    LabelledPhoto,
    Manifest,
    bounding_box,
    fitzpatrick_type,
)
from triage.dataset.photo_folder import PhotoFolder
from triage.dataset.tables import Row
from triage.dataset.votes import count_votes, usual_number, vote_of
from triage.domain.states import FindingKind
from triage.errors import UsageError

INSTANCE: Final = (
    *("redcap_event_name", "redcap_repeat_instrument", "redcap_repeat_instance"),
    *("Event Name", "Repeat Instrument", "Repeat Instance"),  # in exports with labels as headers
)
_SEVERAL_INSTANCES: Final = (
    "this reviewer has another vote on the same record: if its instances are different photos, "
    "give the column of their file names"
)
_Value = TypeVar("_Value")


class Unused(StrEnum):
    """Why a row gives no vote. The properties of its photo are read nevertheless."""

    NO_REVIEW = "without a review"
    NOT_RATED = "not rated yet"
    MISSING = "with a code for missing data"
    REPEATED = "repeated"


@dataclass(slots=True)
class RecordReader:
    """Reads the rows of one record after another.

    Attributes:
        folder: of the photos.
        reviewer_column: the reviewer's name.
        vote_column: the vote.
        photo_column: the photo's file; None if files are named after records.
        missing: codes for missing data.
        boxes: the reason of each column of checkboxes.
        rated: the photos with votes, by resolved path: the photo without its votes, and the votes by reviewer.
        named: the files that the export names, with or without votes.
        n_unrated: number of photos without a vote.
        unused: numbers of rows without a vote, by reason.
        ambiguous: numbers of photos whose rows differ in a property, by property.
        defects: lines and what is wrong in them.
    """

    folder: PhotoFolder
    reviewer_column: str
    vote_column: str
    photo_column: str | None
    missing: frozenset[str]
    boxes: Mapping[str, FindingKind] = field(default_factory=dict)
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
        """Reads the rows of a record; rows that are invalid are added to `defects`."""
        photos, shared = self._photos(rows)
        for row in shared:
            if self._review(row) is not None:
                self.defects.add((row.line, f"a vote without a photo: the record names {len(photos)} photos"))
        for name, own in photos.items():
            votes, reviews = self._votes(own)
            try:
                path = self.folder.find_record(record) if self.photo_column is None else self.folder.find(name)
            except ValueError as error:
                if votes:
                    where = f" (column {self.photo_column})" if self.photo_column else ""
                    self.defects.add((own[0].line, f"{error}{where}"))
            else:
                self.named.add(path)
                if votes and path.resolve() in self.rated:
                    self.defects.add((own[0].line, "another photo of the export is the same file"))
                elif votes:
                    photo = self._photo(path, record, own, shared)
                    self.rated[path.resolve()] = replace(photo, reasons=self._reasons(reviews)), votes
            self.n_unrated += not votes

    def manifest(self, export: Path) -> Manifest:
        """The photos with at least one vote.

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
            yes, n_votes = count_votes(reviews)
            photos.append(replace(photo, reviews=reviews, votes=yes, n_votes=n_votes))
        k = usual_number([len(votes) for _, votes in self.rated.values()])
        return Manifest(tuple(photos), k, tuple(reviewers))

    def _photos(self, rows: Sequence[Row]) -> tuple[dict[str, list[Row]], list[Row]]:
        """The rows of each photo of a record by the photo's name, and the rows that belong to none in particular."""
        if self.photo_column is None:
            return {"": list(rows)}, []
        photos: dict[str, list[Row]] = defaultdict(list)
        of_event: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if text := row.text(self.photo_column):
                name = str(PurePosixPath(text))
                photos[name].append(row)
                of_event[_event(row)].add(name)
        shared: list[Row] = []
        for row in rows:
            if row.text(self.photo_column):
                continue
            candidates = of_event.get(_event(row), photos)
            if row.text(self.reviewer_column) and len(candidates) == 1:
                photos[next(iter(candidates))].append(row)
            else:
                shared.append(row)
        return photos, shared

    def _votes(self, rows: Sequence[Row]) -> tuple[dict[str, int], list[Row]]:
        """The votes on one photo by reviewer, and the row of each."""
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
        return votes, list(firsts.values())

    def _reasons(self, reviews: Sequence[Row]) -> dict[FindingKind, float]:
        """The share of the reviewers who checked each reason; without the reasons that no reviewer was asked for."""
        reasons = {}
        for column, kind in self.boxes.items():
            try:
                answers = [vote for row in reviews if (vote := vote_of(row.text(column))) is not None]
            except ValueError:
                self.defects.add((reviews[0].line, f"{column} must be 1 or 0, checked or unchecked, or empty"))
                continue
            if answers:
                reasons[kind] = sum(answers) / len(answers)
        return reasons

    def _review(self, row: Row) -> tuple[str, int] | None:
        """The reviewer and the vote; None if the row has no vote, which is counted, or a defect."""
        text = row.text(self.vote_column)
        try:
            vote = None if text in self.missing else vote_of(text)
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


def _event(row: Row) -> str:
    return row.text("redcap_event_name") or row.text("Event Name")


def _instance(row: Row) -> list[str]:
    return [row.text(name) for name in INSTANCE]
