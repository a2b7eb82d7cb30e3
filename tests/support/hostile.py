"""Values at which an interface must not fail: odd text, wrong types, extreme numbers and times, deep structures."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

SECRET: Final = "swordfish"
"""A password of these tests. No output may contain it."""

ODD_TEXTS: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "id\udcff",
    "\udfff\ud800",
    "\x1b[2J\x9b31m",
    "a\nb\r\nc",
    "\u2028\u2029\x85",
    "\u202egpj.exe",
    "\ufeff\ufffe",
    "\U0010ffff",
    "'; DROP TABLE message; --",
    "%s %(name)s {0} {name}",
    "-",
    "--",
    "-1",
    "nan",
    "inf",
    "-1e309",
    "1e400",
    "9" * 5000,
    "9" * 30,
    "0x10",
    "None",
    "null",
    "true",
    "[]",
    "{}",
    "[" * 3000,
    '{"a":' * 2000,
    "x" * 100_000,
    "\N{COMBINING ACUTE ACCENT}" * 300,
    "018f0000-0000-7000-8000-000000000000",
    "00000000-0000-0000-0000-000000000000",
    "0001-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59",
    "-0001-01-01",
    "file:///",
    "file:////",
    "file:///%00",
    "file:///%ff%fe",
    "file:///../../etc/passwd",
    "file://[",
    "http://[::1",
    "http://host:99999999/",
    "http://host:port/",
    "https://user:hunter2@host/%zz",
    "http://\ud800/",
    "s3://",
    "://",
    "a://b",
    "memory://x",
    "postgresql+psycopg://u:hunter2@host:port/db",
)


def texts() -> st.SearchStrategy[str]:
    """Any text, with surrogates and control characters."""
    return st.sampled_from(ODD_TEXTS) | st.text(st.characters(), max_size=80)


def process_texts() -> st.SearchStrategy[str]:
    """Any text that an argument or a variable of a process can be: no U+0000, and surrogates only for bytes."""
    return texts().filter(_is_possible)


def _is_possible(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def paths(folder: Path) -> st.SearchStrategy[str]:
    """Paths to files that are empty, damaged, devices or folders, and to no file at all; a test may write to them.

    Args:
        folder: receives the files.
    """
    contents = {
        "empty.csv": b"",
        "binary.csv": bytes(range(256)) * 10,
        "utf16.csv": "score,votes\n0.5,2\n".encode("utf-16"),
        "header.csv": b"score,votes,group\n",
        "odd.csv": b"score,votes,group\nnan,1,a\ninf,-1,b\n,,\n0.5,99999999999999999999999,c\n",
        "nul.csv": b"path,votes,patient\n\0,1;2,p\n",
        "quote.csv": b'path,votes,patient\n"a,1,p\n',
        "wide.csv": b"score,votes\n" + b"0.5,1," * 5000 + b"\n",
        "predictions.csv": b"score,votes,group\n0.9,4,a\n0.1,0,a\n0.7,3,b\n0.2,1,b\n",
        "manifest.csv": b"path,votes,patient\nphoto.jpg,3,p1\n",
        "card.json": b'{"name": ' + b"[" * 3000,
        "parquet.parquet": b"PAR1" + b"\0" * 64 + b"PAR1",
        "photo.jpg": b"\xff\xd8\xff\xe0" + b"\0" * 100,
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "folder").mkdir()
    (folder / "folder" / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "model").mkdir()
    (folder / "model" / "card.json").write_bytes(b"\xff\xfe{}")
    (folder / "model" / "weights.safetensors").write_bytes(b"")
    (folder / "loop").symlink_to("loop")
    named = [*contents, "folder", "model", "loop", "missing/file", "photo.jpg/file", "n" * 300, "d/" * 3000]
    return st.sampled_from([*named, ".", "/dev/null", "/dev/full", "/dev/zero", "/proc/self/mem"])


NUMBERS: Final = (0, 1, -1, 2, 20, 2**31, 2**63 - 1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324)
NOT_FINITE: Final = (float("nan"), float("inf"), float("-inf"))
TIMES: Final = (
    datetime.min,
    datetime.max,
    datetime(2026, 1, 1),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
)
DURATIONS: Final = (timedelta.min, timedelta.max, timedelta(0), timedelta(seconds=-1), timedelta(days=36_500))
IDS: Final = (UUID(int=0), UUID(int=2**128 - 1), UUID("018f0000-0000-7000-8000-000000000000"))


class Nested(list[Any]):
    """Lists within lists, with a short repr: Hypothesis prints examples by recursion."""

    def __init__(self, depth: int) -> None:
        value: list[Any] = []
        for _ in range(depth - 1):
            value = [value]
        super().__init__([value])
        self._depth = depth

    def __repr__(self) -> str:
        return f"Nested({self._depth})"


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value, also such as only Python's decoder accepts: NaN, lone surrogates, huge integers."""
    scalars = st.none() | st.booleans() | st.sampled_from([*NUMBERS, *NOT_FINITE]) | texts()
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4),
        max_leaves=8,
    ) | st.sampled_from([30, 900]).map(Nested)


def values() -> st.SearchStrategy[Any]:
    """A value of any type."""
    return (
        json_values()
        | st.sampled_from([*TIMES, *DURATIONS, *IDS])
        | st.binary(max_size=50)
        | st.sampled_from([object(), Path(), b"", (), set(), int, 1j])
    )
