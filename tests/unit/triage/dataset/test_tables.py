"""Delimited text as other programs write it."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from triage.dataset.tables import read_table, write_table
from triage.errors import UsageError

EXPECTED = ("path", "votes")


def _read(folder: Path, data: str | bytes, *, others: bool = True) -> list[dict[str, str]]:
    path = folder / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [dict(row.values) for row in read_table(path, EXPECTED, others=others)[1]]


def _defect(folder: Path, data: str | bytes) -> str:
    with pytest.raises(UsageError) as raised:
        _read(folder, data)
    return str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_rows_are_read_when_a_spreadsheet_saved_them(tmp_path: Path, encoding: str, ending: str) -> None:
    """srdc/ignifyr#155: REDCap writes a byte order mark. Excel's "Unicode text" is UTF-16 with tabs."""
    text = ending.join(("path\tvotes\tnote", "é.jpg\t1\tline 1", "b.jpg\t2\t", ""))

    assert _read(tmp_path, text.encode(encoding)) == [
        {"path": "é.jpg", "votes": "1", "note": "line 1"},
        {"path": "b.jpg", "votes": "2", "note": ""},
    ]


@pytest.mark.parametrize("header", ["path;votes;note, long, with commas", 'path;votes;"a, b, c, d"', "path;votes"])
def test_semicolons_are_found_when_the_header_has_more_commas(tmp_path: Path, header: str) -> None:
    [row] = _read(tmp_path, f"{header}\na.jpg;1\n")

    assert (row["path"], row["votes"]) == ("a.jpg", "1")


def test_line_breaks_and_delimiters_in_quotes_are_part_of_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('path,votes,note\na.jpg,1,"first,\r\nsecond ""x"""\n\n"b.jpg", "2",\n', encoding="utf-8")

    _, rows = read_table(path, EXPECTED)

    assert [row.values["votes"] for row in rows] == ["1", "2"]
    assert rows[0].values["note"] == 'first,\r\nsecond "x"'
    assert [row.line for row in rows] == [2, 5]


def test_long_cells_are_read(tmp_path: Path) -> None:
    """wireservice/csvkit#812: Python's csv module refuses cells above 131,072 characters unless its limit is raised."""
    [row] = _read(tmp_path, f"path,votes,comment\na.jpg,1,{'x' * 1_000_000}\n")

    assert len(row["comment"]) == 1_000_000


def test_blank_rows_and_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    assert _read(tmp_path, "\n,path,votes,,\n,,,,\n0,a.jpg,1,,\n\n") == [{"path": "a.jpg", "votes": "1"}]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('a.jpg,1,"words \\"quoted\\" words"\n', 2),  # vubiostat/redcapAPI#364: backslashes instead of doubled quotes
        ('a.jpg,1,x\nb.jpg,1,"no end\nc.jpg,1,y\n', 3),
        ('a.jpg,1,"x" y\n', 2),
    ],
)
def test_table_is_refused_when_quotes_could_hide_rows(tmp_path: Path, rows: str, line: int) -> None:
    assert f"line {line} cannot be read: close its quotes" in _defect(tmp_path, f"path,votes,note\n{rows}")


def test_table_is_refused_when_a_row_has_more_cells_than_the_header(tmp_path: Path) -> None:
    assert "line 3: more cells than the header has columns" in _defect(tmp_path, "path,votes\na.jpg,1,,\nb.jpg,1,2\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"path,votes\na.jpg,1\nb\xe9.jpg,1\n", "line 3 cannot be read as text"),  # redcapAPI#290: Latin-1 in a label
        (b"path,votes\na.jpg,1\n\0\0\0\0", "line 3 cannot be read, it has a NUL byte"),  # OpenRefine/OpenRefine#653
        ("path,votes\na.jpg,1\n".encode("utf-16-le"), "line 1 cannot be read, it has a NUL byte"),
        (b"\xff\xfep\0a", "cannot be read as text"),
    ],
)
def test_table_is_refused_when_it_is_not_text(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in _defect(tmp_path, data)


def test_names_are_stripped_and_unique_among_the_columns_that_are_read(tmp_path: Path) -> None:
    data = "path, votes,other,other\na.jpg,1,2,3\n"

    assert _read(tmp_path, data, others=False) == [{"path": "a.jpg", "votes": "1"}]
    assert "two columns have the same name, 'other'" in _defect(tmp_path, data)


def test_names_are_stripped_when_the_table_is_parquet(tmp_path: Path) -> None:
    parquet.write_table(pa.table({" path": ["a.jpg", None], "votes ": [1.0, 2.0]}), tmp_path / "table.parquet")

    _, rows = read_table(tmp_path / "table.parquet", EXPECTED)

    assert [dict(row.values) for row in rows] == [{"path": "a.jpg", "votes": "1"}, {"path": "", "votes": "2"}]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_is_not_written_when_the_name_of_a_file_is_not_utf8(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match="a photo's path is not UTF-8"):
        write_table(tmp_path / f"table.{suffix}", [{"path": os.fsdecode(b"\xff.jpg")}])

    assert list(tmp_path.iterdir()) == []
