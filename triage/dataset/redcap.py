"""Reviewers' votes from a REDCap export in long format: one row for each reviewer and photo.

The labelling procedure is that of Jeong et al. 2024, doi:10.1016/j.xjidi.2024.100285.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from triage.dataset.defects import refuse
from triage.dataset.manifest import BOX, REASON_KINDS, Manifest
from triage.dataset.photo_folder import PhotoFolder
from triage.dataset.redcap_records import INSTANCE, RecordReader, Unused
from triage.dataset.tables import Row, read_table
from triage.dataset.votes import NO, YES
from triage.errors import UsageError

_PROPERTIES: Final = ("source", "fitzpatrick", "patient", *BOX)


@dataclass(frozen=True, slots=True)
class Export:
    """A manifest made from an export, and an account of what was read.

    Attributes:
        manifest: the photos with at least one vote.
        columns: names of the columns that were used.
        n_other_columns: number of the other columns.
        unknown_reasons: those of them that are of the checkbox field, with codes that are not reasons.
        n_rows: number of rows that are not blank; each gives one vote, or counts in `unused_rows`.
        unused_rows: numbers of rows by reason.
        n_unrated: number of photos in the export that are not in the manifest, because they have no vote.
        n_other_files: number of files among the photos that the export does not name.
        ambiguous: numbers of photos whose rows differ in a property, by property; the first row with it counts.
    """

    manifest: Manifest
    columns: Sequence[str]
    n_other_columns: int
    unknown_reasons: Sequence[str]
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
    reason_column: str = "reason",
    missing: Collection[str] = (),
) -> Export:
    """Joins the rows of each photo into one labelled photo.

    With a photo column, a record can have several photos, such as the instances of a repeating instrument: rows that
    name different files are different photos of one patient, rows that name the same file are its reviewers. A review
    without a file name belongs to the only photo of its event or record; other rows describe all photos of the record.

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
        reason_column: a checkbox field for the reasons why a photo fails, coded as `FindingKind`: its columns are
            `reason___defocus` and so on. The share of the reviewers who checked it becomes the photo's.
        missing: REDCap's missing data codes of the project, which count as empty.

    Raises:
        UsageError: the export cannot be read, or rows are invalid; the message names each with its line.
    """
    if {code.casefold() for code in missing} & (YES | NO):
        raise UsageError("a code for missing data must not also be a vote")
    needed = [record_column, reviewer_column, vote_column, *([photo_column] if photo_column else [])]
    boxes = {f"{reason_column}___{kind}": kind for kind in REASON_KINDS}
    columns, rows = read_table(export, {*needed, *INSTANCE, *_PROPERTIES, *boxes}, others=False)
    if absent := [name for name in needed if name not in columns]:
        raise UsageError(f"{export}: the export lacks the column {', '.join(absent)}: give the names of its columns")
    if not rows:
        raise UsageError(f"{export}: the export has no rows")
    reader = RecordReader(
        PhotoFolder(photos),
        reviewer_column,
        vote_column,
        photo_column,
        frozenset(missing),
        {name: kind for name, kind in boxes.items() if name in columns},
    )
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
    refuse(export, reader.defects)
    read = [name for name in columns if name in {*needed, *_PROPERTIES, *boxes, *(() if photo_column else INSTANCE)}]
    return Export(
        manifest=reader.manifest(export),
        columns=read,
        n_other_columns=len(columns) - len(read),
        unknown_reasons=[name for name in columns if name.startswith(f"{reason_column}___") and name not in boxes],
        n_rows=len(rows),
        unused_rows=reader.unused,
        n_unrated=reader.n_unrated,
        n_other_files=reader.folder.count_others(reader.named),
        ambiguous=reader.ambiguous,
    )
