"""Tables on disk, CSV or Parquet, as rows of text."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triage.errors import UsageError


@dataclass(frozen=True, slots=True)
class Row:
    """A row's texts by column. `line` is its line in a CSV, its number from 1 in a Parquet file."""

    line: int
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """The text of a column without blanks around it; empty where there is none."""
        return self.values.get(column, "")


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Reads `.parquet` by its suffix, anything else as CSV in UTF-8.

    Raises:
        UsageError: the file cannot be read.
    """
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or ()]
            if len(set(columns)) < len(columns):
                raise UsageError(f"{path}: a column is there twice")
            reader.fieldnames = columns
            rows = [
                Row(reader.line_num, {key: (value or "").strip() for key, value in row.items() if key in columns})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as CSV in UTF-8") from error
    return columns, rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Writes rows; whoever reads the path sees the old file or the new one, whole.

    Raises:
        UsageError: nothing can be written there.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".parquet":
            _write_parquet(partial, columns, rows)
        else:
            with partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written to") from error


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


def _write_parquet(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    pyarrow, parquet = _pyarrow()
    parquet.write_table(pyarrow.table({name: [row.get(name, "") for row in rows] for name in columns}), path)


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "Parquet needs the package pyarrow: pip install 'skin-photo-triage[parquet]', or give a CSV"
        ) from error
    return pa, parquet


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
