"""Tables on disk, delimited text or Parquet, as rows of strings."""

import codecs
import csv
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from triage.domain.text import MAX_ID, check_note, csv_cell, from_csv_cell
from triage.errors import UsageError
from triage.files.atomic import write_durably
from triage.files.kinds import refuse_device

_DELIMITERS: Final = ",;\t|^"
"""What REDCap offers as `csvDelimiter`. A server's default applies to every export that does not name one."""

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Stricter than `float`, which also reads `1_0`, `nan` and the digits of other scripts."""

csv.field_size_limit(2**31 - 1)  # the default of 131,072 refuses long comments; the whole file is in memory anyway


@dataclass(frozen=True, slots=True)
class Row:
    """A row's values by column. `line` is its first line in a text file, or its number from 1 in a Parquet file."""

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

    def number(self, column: str) -> float | None:
        """The number in a column; None where it is missing.

        Raises:
            ValueError: it is not a finite number with a decimal point.
        """
        text = self.text(column)
        if not text:
            return None
        if not _NUMBER.fullmatch(text) or not math.isfinite(number := float(text)):
            raise ValueError(f"{column} must be a number with a decimal point")
        return number


def read_table(path: Path, expected: Collection[str], *, others: bool = True) -> tuple[list[str], list[Row]]:
    """Reads `.parquet` by its suffix, anything else as delimited text in UTF-8, or in UTF-16 with a byte order mark.

    The delimiter (comma, semicolon, tab, `|` or `^`) is the one that gives the header most of the expected columns.
    Blank rows and columns without a name are left out.

    Args:
        path: of the file.
        expected: names of columns.
        others: also read the columns that are not expected. If not, they may share names.

    Returns:
        The names of all columns, and the rows.

    Raises:
        UsageError: the file cannot be read, two columns that are read have one name, or a row has too many cells.
    """
    if path.suffix == ".parquet":
        columns, records = _read_parquet(path)
    else:
        columns, records = _read_text(path, expected)
    places = [place for place, name in enumerate(columns) if name and (others or name in expected)]
    names = [columns[place] for place in places]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{path}: two columns have the same name, {repeated!r}: rename one")
    rows = []
    for line, cells in records:
        if any(cells[len(columns) :]):
            raise UsageError(
                f"{path}: line {line}: more cells than the header has columns: quote cells with delimiters"
            )
        if any(cells):
            rows.append(Row(line, {columns[place]: cells[place] for place in places if place < len(cells)}))
    return columns, rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str] = ()) -> None:
    """Writes rows, as Parquet or CSV by the path's suffix. A reader sees the old file or the new one, never a part.

    Args:
        path: of the file.
        rows: their cells by column.
        columns: the first columns, also of a table without rows.

    Raises:
        UsageError: the file cannot be written, or a cell holds the name of a file that is not UTF-8.
    """
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    try:
        encoded = (_parquet if path.suffix == ".parquet" else _csv)(names, rows)
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: a photo's path is not UTF-8: rename its file or folder") from error
    try:
        write_durably(path, encoded, follow_umask=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: check the folder, its free space and permissions") from error


def _read_text(path: Path, expected: Collection[str]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    try:
        data = refuse_device(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: the file cannot be read: check the path and its permissions") from error
    file = io.StringIO(_decode(path, data), newline="")
    found = {delimiter: _header(file, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(found, key=lambda each: (len(found[each] & set(expected)), len(found[each])))
    file.seek(0)
    records = _records(path, csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True))
    _, columns = next(records, (0, []))
    return columns, records


def _decode(path: Path, data: bytes) -> str:
    has_mark = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if has_mark else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}: line {line} cannot be read as text: save the file in UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UsageError(f"{path}: line {line} cannot be read, it has a NUL byte: export the file again in UTF-8")
    return text


def _header(file: io.StringIO, delimiter: str) -> set[str]:
    file.seek(0)
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
    return set(next((_cells(record) for record in reader if any(record)), []))


def _records(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with its first line."""
    line = 1
    try:
        for record in reader:
            if any(cells := _cells(record)):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(
            f"{path}: line {line} cannot be read: close its quotes, and double the quotes inside a quoted cell"
        ) from error


def _cells(record: Sequence[str]) -> list[str]:
    return [from_csv_cell(cell.strip()) for cell in record]


def _read_parquet(path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    pyarrow, parquet = _pyarrow()
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as Parquet") from error
    columns = [name.strip() for name in table.column_names]
    values = [column.to_pylist() for column in table.columns]
    return columns, ((number, list(map(_text, row))) for number, row in enumerate(zip(*values, strict=True), 1))


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
