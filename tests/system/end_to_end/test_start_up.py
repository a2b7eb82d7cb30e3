"""What commands import to do their work: a command that reads rows must not wait for torch, Celery or scipy."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.startup import HEAVY, heavy_imports

pytestmark = pytest.mark.long

READS_SETTINGS = {"structlog", "pydantic_settings", "pydantic"}
READS_ROWS = READS_SETTINGS | {"sqlalchemy", "psycopg"}
READS_BLOBS = READS_ROWS | {"fsspec"}
WAKES_WORKERS = READS_ROWS | {"redis", "celery", "kombu"}

MAY_IMPORT = {
    ("report",): READS_ROWS | {"numpy"},  # for drift
    ("report", "--format", "html"): READS_ROWS | {"numpy", "jinja2"},
    ("explain", "m-1"): READS_ROWS,
    ("override", "m-1", "--decision", "pass", "--by", "n-1", "--reason", "clear"): READS_ROWS,
    ("retakes", "list"): READS_ROWS,
    ("retakes", "claim"): READS_ROWS,
    ("models", "list"): READS_BLOBS,  # the registry opens its store
    ("models", "promote", "nothing"): READS_BLOBS,
    ("runs",): READS_ROWS,
    ("runs", "show", "00000000-0000-7000-8000-000000000000"): READS_ROWS,
    ("wait",): READS_ROWS,
    ("audit", "verify"): READS_ROWS,
    ("purge", "--dry-run"): READS_BLOBS,
    ("archive", "--days", "30", "--dry-run"): READS_ROWS,
    ("forget", "m-1", "--by", "n-1", "--reason", "42"): READS_BLOBS,
    ("enqueue", __file__): WAKES_WORKERS | {"fsspec", "pydantic"},
    ("rescore",): WAKES_WORKERS,
    ("health", "scoring"): READS_BLOBS | {"redis"},
    ("db", "check"): READS_ROWS | {"alembic"},
    ("doctor",): WAKES_WORKERS | {"fsspec", "alembic", "numpy"},  # it looks for drift
    ("settings",): READS_SETTINGS,
    ("replies", "list"): READS_SETTINGS,
    ("replies", "preview"): READS_SETTINGS,
    ("replies", "check", "/nonexistent"): READS_SETTINGS,
    ("dataset", "check", __file__): READS_SETTINGS,
    ("dataset", "split", __file__, "-o", "/nonexistent/m.csv"): READS_SETTINGS | {"numpy", "scipy"},
    ("evaluate", __file__): READS_SETTINGS | {"numpy", "scipy"},
    ("worker", "nothing"): set(),
}
"""What each command may import of `HEAVY`; the rest it must not. Some end in an error, after their imports."""


def test_command_imports_only_the_heavy_modules_that_it_needs(environment: Callable[[str, str], None]) -> None:
    too_many = {
        arguments: surplus
        for arguments, allowed in MAY_IMPORT.items()
        if (surplus := set(heavy_imports(arguments, os.environ)) - allowed)
    }

    assert too_many == {}


def test_import_of_a_heavy_module_is_noticed(tmp_path: Path, environment: Callable[[str, str], None]) -> None:
    assert set(heavy_imports(["doctor"], os.environ)) >= {"celery", "redis", "sqlalchemy", "alembic"}
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"not a photo")
    assert set(heavy_imports(["score", str(photo)], os.environ)) >= {"torch", "numpy"}
    assert set(heavy_imports(["--version"], os.environ)) == set()
    assert "rich.traceback" in HEAVY
