"""Tables on disk, CSV or Parquet, as rows of strings."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.domain.text import MAX_ID, check_note, csv_cell, from_csv_cell
from triage.errors import UsageError
from triage.files.atomic import write_durably
from triage.files.kinds import refuse_device


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column. `line` is its line in a CSV, or its number from 1 in a Parquet file."""

    line: int
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """The stripped value of a column; empty where the row has none."""
        return self.values.get(column, "")

    def name(self, column: str) -> str:
        """The name in a column, such as a reviewer's or a source's, in Unicode's form NFC; empty where it is missing.

        Raises:
            ValueError: it is too long or has control or format characters.
        """
        text = self.text(column)
        try:
            return check_note(text, column, at_most=MAX_ID) if text else ""
        except UsageError as error:
            raise ValueError(str(error)) from error


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Reads `.parquet` by its suffix, anything else as CSV in UTF-8.

    Raises:
        UsageError: the file cannot be read, or two columns have one name.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        with refuse_device(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [from_csv_cell(name.strip()) for name in reader.fieldnames or ()]
            if len(set(columns)) < len(columns):
                raise UsageError(f"{path}: two columns have the same name: rename one")
            reader.fieldnames = columns
            rows = [
                Row(
                    reader.line_num,
                    {key: from_csv_cell((value or "").strip()) for key, value in row.items() if key in columns},
                )
                for row in reader
            ]
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read: check the path and its permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV in UTF-8") from error
    return columns, rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes rows, as Parquet or CSV by the path's suffix. A reader sees the old file or the new one, never a part.

    Raises:
        UsageError: the file cannot be written.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    encoded = (_parquet if path.suffix == ".parquet" else _csv)(columns, rows)
    try:
        write_durably(path, encoded, follow_umask=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: check the folder, its free space and permissions") from error


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    pyarrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as Parquet") from error
    columns: list[str] = table.column_names
    rows = [
        Row(number, {key: _text(value) for key, value in row.items()})
        for number, row in enumerate(table.to_pylist(), 1)
    ]
    return columns, rows


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(csv_cell, columns))
    writer.writerows([csv_cell(row.get(column, "")) for column in columns] for row in rows)
    return text.getvalue().encode()


def _parquet(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    pyarrow, parquet = _pyarrow()
    data = io.BytesIO()
    parquet.write_table(pyarrow.table({name: [row.get(name, "") for row in rows] for name in columns}), data)
    return data.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # deferred: an optional dependency
        from pyarrow import parquet  # deferred: an optional dependency
    except ImportError as error:
        raise UsageError("reading or writing Parquet needs pyarrow: install the package pyarrow, or use CSV") from error
    return pa, parquet


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
