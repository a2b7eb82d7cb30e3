"""Labelled photos as a table, CSV or Parquet: one row for each photo, with its reviewers' votes.

Columns: `path` (or `image`), relative to the manifest's folder; either one column for each reviewer, `reviewer_NAME`,
with 1, 0 or empty, or `votes`, with the number of those who voted on the photo in `n_reviewers` (4 by default);
optionally `source`,
`fitzpatrick` (I to VI), `patient`, `rating`, `box_left`, `box_top`, `box_right`, `box_bottom` in pixels of the upright
photo, `reason_KIND` with the share of the reviewers who gave a reason why the photo fails, and `split`. Further columns
are kept, to group by.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from triage.dataset.defects import refuse
from triage.dataset.tables import Row, read_table, write_table
from triage.dataset.votes import count_votes, is_good, usual_number, vote_of, whole_number
from triage.domain.states import FindingKind
from triage.domain.text import is_plain
from triage.errors import UsageError
from triage.files.hashing import sha256_of
from triage.files.kinds import is_file

_DEFAULT_REVIEWERS: Final = 4
MAX_REVIEWERS: Final = 32
_REVIEWER: Final = "reviewer_"
BOX: Final = ("box_left", "box_top", "box_right", "box_bottom")
_KNOWN: Final = frozenset(
    {"path", "image", "votes", "n_reviewers", "source", "fitzpatrick", "patient", "rating", "split", *BOX}
)
REASON_KINDS: Final = tuple(kind for kind in FindingKind if kind is not FindingKind.NO_CLEAR_REASON)
"""The reasons that reviewers can give."""
_REASON: Final = "reason_"
_ROMAN: Final = ("I", "II", "III", "IV", "V", "VI")


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Box:
    """A region of interest in pixels of the upright photo; `right` and `bottom` lie outside it."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """A photo and the number of reviewers who found it good enough for the chart.

    Attributes:
        path: of the file.
        votes: of those who found it good.
        reviews: the vote of each reviewer, None without one; empty if only `votes` is known.
        source: such as a clinic or a device.
        fitzpatrick: skin type, I to VI.
        patient: an opaque id; all photos of a patient are in one split.
        box: the region of interest.
        split: all photos of a manifest have one, or none has.
        rating: a continuous rating, such as a mean opinion score.
        reasons: why the photo fails, each with the share of the reviewers who say so; without those not asked for.
        others: further columns.
        n_votes: number of reviewers who voted on it; None if that is the manifest's K. 0 only where `read_manifest` was
            asked for photos without votes, too.
    """

    path: Path = field(repr=False)
    votes: int
    reviews: tuple[int | None, ...] = ()
    source: str | None = None
    fitzpatrick: str | None = None
    patient: str | None = field(default=None, repr=False)
    box: Box | None = None
    split: Split | None = None
    rating: float | None = None
    reasons: Mapping[FindingKind, float] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    n_votes: int | None = None

    def is_good(self, good_votes: int, n_reviewers: int) -> bool:
        """As `triage.dataset.votes.is_good`."""
        return is_good(self.votes, self.n_votes or n_reviewers, good_votes=good_votes, n_reviewers=n_reviewers)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Labelled photos.

    Attributes:
        photos: each with its own votes.
        n_reviewers: K, the number of reviewers who voted on most photos, and of the outputs of a network that learns
            from them.
        reviewers: their names; empty if only `votes` is known.
        sha256: of the file; empty for photos from elsewhere.
    """

    photos: Sequence[LabelledPhoto]
    n_reviewers: int
    reviewers: Sequence[str] = ()
    sha256: str = field(default="", compare=False)

    def votes_per_photo(self) -> dict[int, int]:
        """The number of photos by the number of reviewers who voted on them, the most votes first."""
        counts = Counter(photo.n_votes or self.n_reviewers for photo in self.photos)
        return dict(sorted(counts.items(), reverse=True))

    def of(self, split: Split) -> list[LabelledPhoto]:
        """The photos of a split."""
        return [photo for photo in self.photos if photo.split is split]


def read_manifest(path: Path, *, n_reviewers: int | None = None, with_unlabelled: bool = False) -> Manifest:
    """Reads a manifest: `.parquet` as Parquet, any other suffix as CSV in UTF-8.

    Args:
        path: of the table.
        n_reviewers: K, such as the outputs of a model; by default the number of votes that most photos have.
        with_unlabelled: also take photos without a vote; a table of such photos needs no column of votes.

    Raises:
        UsageError: the file cannot be read, or rows are invalid; the message names each with its line.
    """
    columns, rows = read_table(path, ("path", "image", "votes"))
    reviewers = [name for name in columns if name.startswith(_REVIEWER)]
    if not all(map(is_plain, columns)):
        raise UsageError(f"{path}: a column's name has control or format characters: rename the column")
    kinds = {f"{_REASON}{kind}": kind for kind in REASON_KINDS}
    if unknown := sorted(name for name in columns if name.startswith(_REASON) and name not in kinds):
        raise UsageError(f"{path}: unknown reason in column {unknown[0]!r}: use {', '.join(sorted(kinds))}")
    if not {"path", "image"} & set(columns) or not (reviewers or "votes" in columns or with_unlabelled):
        raise UsageError(
            f"{path}: the manifest needs the column path, and either votes or a column reviewer_NAME per reviewer"
        )
    if not rows:
        raise UsageError(f"{path}: the manifest has no rows")
    if len(reviewers) > MAX_REVIEWERS:
        raise UsageError(f"{path}: {len(reviewers)} reviewers: a manifest holds at most {MAX_REVIEWERS}")

    photos: list[LabelledPhoto] = []
    defects: list[tuple[int, str]] = []
    lines: list[int] = []
    for row in rows:
        try:
            usual = n_reviewers or _DEFAULT_REVIEWERS
            photos.append(_photo(path.parent, row, reviewers, usual, with_unlabelled=with_unlabelled))
            lines.append(row.line)
        except ValueError as error:
            defects.append((row.line, str(error)))
    refuse(path, [*defects, *_defects_between(photos, lines)])
    k = n_reviewers or usual_number([photo.n_votes for photo in photos if photo.n_votes] or [_DEFAULT_REVIEWERS])
    names = tuple(name.removeprefix(_REVIEWER) for name in reviewers)
    return Manifest(tuple(photos), k, names, sha256_of(path.read_bytes()))


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes a manifest. Paths inside its folder become relative.

    Raises:
        UsageError: the file cannot be written.
    """
    folder = path.parent.resolve()
    kinds = [kind for kind in REASON_KINDS if any(kind in photo.reasons for photo in manifest.photos)]
    write_table(path, [_row(photo, manifest, folder, kinds) for photo in manifest.photos])


def fitzpatrick_type(text: str) -> str | None:
    """Converts a skin type, 1 to 6 or I to VI, to I to VI; None for an empty text.

    Raises:
        ValueError: another text.
    """
    if not text:
        return None
    if text in {"1", "2", "3", "4", "5", "6"}:
        return _ROMAN[int(text) - 1]
    if text.upper() in _ROMAN:
        return text.upper()
    raise ValueError("fitzpatrick must be I to VI or 1 to 6")


def bounding_box(row: Row) -> Box | None:
    """The region of interest of a row; None without one.

    Raises:
        ValueError: the box is incomplete or empty.
    """
    if not any(row.text(name) for name in BOX):
        return None
    left, top, right, bottom = (_pixels(row, name) for name in BOX)
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError("a box must have box_left < box_right and box_top < box_bottom, from 0")
    return Box(left, top, right, bottom)


def _pixels(row: Row, column: str) -> int:
    if (number := row.number(column)) is None:
        raise ValueError("a box needs four numbers: box_left, box_top, box_right, box_bottom")
    return round(number)


def _photo(folder: Path, row: Row, reviewers: Sequence[str], usual: int, *, with_unlabelled: bool) -> LabelledPhoto:
    name = row.text("path") or row.text("image")
    if not name:
        raise ValueError("path is empty")
    if not is_file(folder / name):
        raise ValueError("no file at this path, or no permission to read it")
    reviews = tuple(vote_of(row.text(reviewer)) for reviewer in reviewers)
    if with_unlabelled and not (row.text("votes") or any(review is not None for review in reviews)):
        votes, n_votes = 0, 0
    else:
        votes, n_votes = count_votes(reviews) if reviewers else _votes(row, usual)
    if reviewers and (said := row.text("votes")) and whole_number("votes", said) != votes:
        raise ValueError("votes must agree with the votes of the reviewers")
    split = row.text("split")
    if split not in {"", *Split}:
        raise ValueError(f"split must be one of {', '.join(Split)}")
    return LabelledPhoto(
        path=folder / name,
        votes=votes,
        reviews=reviews,
        source=row.name("source") or None,
        fitzpatrick=fitzpatrick_type(row.text("fitzpatrick")),
        patient=row.name("patient") or None,
        box=bounding_box(row),
        split=Split(split) if split else None,
        rating=row.number("rating"),
        reasons={kind: share for kind in REASON_KINDS if (share := _share(row, f"{_REASON}{kind}")) is not None},
        others={
            key: value
            for key, value in row.values.items()
            if key not in _KNOWN and key not in reviewers and not key.startswith(_REASON)
        },
        n_votes=n_votes,
    )


def _share(row: Row, column: str) -> float | None:
    share = row.number(column)
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"{column} must be the share of the reviewers who gave this reason, from 0 to 1")
    return share


def _votes(row: Row, usual: int) -> tuple[int, int]:
    """The number of yes votes, and of votes."""
    stated = whole_number("n_reviewers", row.text("n_reviewers") or str(usual))
    if not 1 <= stated <= MAX_REVIEWERS:
        raise ValueError(f"n_reviewers must be the number of reviewers who voted on the photo, 1 to {MAX_REVIEWERS}")
    votes = whole_number("votes", row.text("votes"))
    if votes > stated:
        raise ValueError(f"votes must be a whole number from 0 to {stated}, not {votes}")
    return votes, stated


def _defects_between(photos: Sequence[LabelledPhoto], lines: Sequence[int]) -> list[tuple[int, str]]:
    """Defects of several rows: a duplicate photo; of photos with votes, a patient in two splits or a missing split."""
    defects: list[tuple[int, str]] = []
    seen: dict[Path, int] = {}
    sides: dict[str, Split | None] = {}
    some_split = any(photo.split for photo in photos)
    for photo, line in zip(photos, lines, strict=True):
        path = photo.path.resolve()
        if path in seen:
            defects.append((line, f"the same photo as in line {seen[path]}"))
        seen.setdefault(path, line)
        if photo.n_votes == 0:
            continue
        if some_split and photo.split is None:
            defects.append((line, "split is empty, but other rows have one"))
        if photo.patient is not None and sides.setdefault(photo.patient, photo.split) is not photo.split:
            defects.append((line, "the patient is also in another split"))
    return defects


def _row(photo: LabelledPhoto, manifest: Manifest, folder: Path, kinds: Sequence[FindingKind]) -> dict[str, str]:
    path = photo.path.resolve()
    row = {"path": str(path.relative_to(folder) if path.is_relative_to(folder) else path)}
    if manifest.reviewers:
        named = zip(manifest.reviewers, photo.reviews, strict=True)
        row |= {f"{_REVIEWER}{name}": _text(review) for name, review in named}
    elif photo.n_votes == 0:
        row |= {"votes": "", "n_reviewers": ""}
    else:
        row |= {"votes": str(photo.votes), "n_reviewers": str(photo.n_votes or manifest.n_reviewers)}
    row |= {name: _text(getattr(photo, name)) for name in ("source", "fitzpatrick", "patient", "rating", "split")}
    row |= {f"{_REASON}{kind}": _text(photo.reasons.get(kind)) for kind in kinds}
    box = photo.box
    corners = (box.left, box.top, box.right, box.bottom) if box else (None,) * 4
    return row | {name: _text(corner) for name, corner in zip(BOX, corners, strict=True)} | dict(photo.others)


def _text(value: object) -> str:
    return "" if value is None else str(value)
