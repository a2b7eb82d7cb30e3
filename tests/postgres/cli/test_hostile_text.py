"""No text from outside reaches a terminal raw: neither stored text, nor names of files, nor arguments."""

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import text
from sqlalchemy.types import Text

from tests.support.command_line import Result
from triage.storage.database import Sessions
from triage.storage.tables import METADATA
from worker.cli import _COMMANDS
from worker.settings import load_settings
from worker.tasks.base import WorkerServices

Triage: TypeAlias = Callable[..., Result]

HOSTILE = "\x1b[2J\x9b31m\u202e\u2028\n\tx"
RAW = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

CODES = {"attachment.error_code", "attachment.status", "alembic_version.version_num"}
"""Codes that the product writes and reads back as an enum, without a constraint in the database or with one."""

RUN_IN_FOREGROUND = {"demo", "up", "down", "beat", "metrics"}
"""Commands that show nothing stored: they start or stop processes of this machine."""


def _hostile_rows(sessions: Sessions) -> set[str]:
    """Appends hostile text to each text column that is no code, as rows of earlier releases may have it."""
    changed: set[str] = set()
    with sessions() as session:
        constrained = set(
            session.scalars(
                text(
                    "SELECT attrelid::regclass || '.' || attname FROM pg_constraint "
                    "JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey) WHERE contype = 'c' "
                    "AND pg_get_constraintdef(pg_constraint.oid) LIKE '%ANY%'"
                )
            )
        )
    with sessions.begin() as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # history is append-only
        for table in METADATA.sorted_tables:
            for column in table.columns:
                name = f"{table.name}.{column.name}"
                if isinstance(column.type, Text) or column.type.python_type is str:
                    if name in constrained | CODES or column.foreign_keys:
                        continue
                    only = "WHERE decided_by = 'person'" if name == "decision.actor" else ""
                    value = f"coalesce({column.name}, '') || :hostile"
                    session.execute(
                        text(f"UPDATE {table.name} SET {column.name} = {value} {only}"), {"hostile": HOSTILE}
                    )
                    changed.add(name)
        for name, key in (
            ("model_version.card", "threshold_chosen_by"),
            ("model_version.card", "licence_notes"),
            ("run.progress", "stage"),
            ("audit_event.details", "reason"),
        ):
            table_name, key_column = name.split(".")
            value = f"jsonb_set({key_column}, :path, to_jsonb(CAST(:hostile AS text)))"
            session.execute(
                text(f"UPDATE {table_name} SET {key_column} = {value}"), {"path": [key], "hostile": HOSTILE}
            )
    return changed


def _raw(shown: str) -> list[str]:
    """The characters of an output that a terminal would obey."""
    return sorted({f"U+{ord(c):04X}" for c in shown if c != "\n" and unicodedata.category(c) in RAW})


@pytest.fixture
def hostile(
    triage: Triage, model_folder: Path, tmp_path: Path, jpeg: Callable[..., bytes], sessions: Sessions
) -> dict[str, str]:
    """A message with a verdict, decisions, a request and audit events, and runs, all with hostile text; their ids."""
    (tmp_path / "photo.jpg").write_bytes(jpeg(1))
    assert triage("models", "add", model_folder).code == 0
    assert triage("models", "promote", "strict").code == 0
    for name in ("m-1", "m-2"):
        assert triage("enqueue", tmp_path / "photo.jpg", "--message-id", name, "--group", "arm").code == 0
    with WorkerServices(load_settings()) as services:
        services.scoring.drain()
    assert triage("override", "m-2", "--decision", "retake", "--by", "n-1", "--reason", "dark").code == 0
    [request, _] = triage("retakes", "list", "--json").json
    run = triage("rescore", "--json").json["id"]
    message = triage("explain", "m-1", "--json").json["id"]
    weights = triage("models", "list", "--json").json[0]["weights_sha256"][:12]
    changed = _hostile_rows(sessions)
    assert {
        "message.external_id",
        "thread.external_id",
        "decision.note",
        "decision.actor",
        "model_version.name",
    } <= changed
    return {"message": message, "request": request["id"], "run": run, "weights": weights}


def _commands(ids: dict[str, str], folder: Path, model: Path) -> list[Sequence[str | Path]]:
    file = folder / f"photo{HOSTILE}.jpg"
    file.write_bytes(b"no photo")
    manifest, predictions = folder / f"labels{HOSTILE}.csv", folder / "predictions.csv"
    manifest.write_text(f'path,votes,site\n"{file.name}",3,"{HOSTILE}"\n', encoding="utf-8")
    scores = "".join(f'{n / 20},{n % 5},"{HOSTILE}"\n' for n in range(20))
    predictions.write_text(f'score,votes,"site\x1b\u202e"\n{scores}', encoding="utf-8")
    message, request, run = ids["message"], ids["request"], ids["run"]
    by_dimension = [word for name in ("day", "source", "role", "model") for word in ("--by", name)]
    withdraw = ("retakes", "withdraw", request, "--by", "n-1")
    return [
        (HOSTILE,),
        ("explain", f"--{HOSTILE}"),
        *((name, HOSTILE) for name in _COMMANDS if name not in RUN_IN_FOREGROUND | {"score"}),
        ("enqueue", file, "--message-id", HOSTILE),
        ("enqueue", folder / HOSTILE),
        ("enqueue", file, "--json"),
        ("wait", "--message-id", message),
        ("explain", message),
        ("explain", message, "--json"),
        ("retakes", "list"),
        ("retakes", "list", "--json"),
        ("retakes", "claim", "--by", "ehr", "--limit", "1"),
        withdraw,
        ("override", message, "--decision", "pass", "--by", "n-1", "--reason", "sharp"),
        ("override", message, "--decision", "pass", "--by", "n-1", "--reason", HOSTILE),
        *(("report", *by_dimension, "--format", fmt) for fmt in ("table", "json", "csv", "html")),
        ("runs",),
        ("runs", "--json"),
        ("runs", "--flips", run),
        ("runs", "--cancel", run),
        ("rescore", "--model", HOSTILE),
        ("train", "--manifest", manifest, "--name", HOSTILE),
        ("train", "--manifest", predictions, "--name", HOSTILE),
        ("models", "list"),
        ("models", "list", "--json"),
        ("models", "card", ids["weights"]),
        ("models", "promote", HOSTILE),
        ("models", "thresholds", ids["weights"], predictions),
        ("score", file, folder / HOSTILE, "--model", model),
        ("score", file, "--model", model, "--json"),
        ("score", HOSTILE, "--model", model),
        ("dataset", "check", manifest),
        ("dataset", "check", manifest, "--photos"),
        ("dataset", "describe", manifest),
        ("dataset", "describe", predictions),
        ("evaluate", predictions, "--by", "site\x1b\u202e"),
        ("evaluate", predictions, "--by", "site\x1b\u202e", "--json"),
        ("evaluate", predictions, "--by", "site\x1b\u202e", "--html", folder / "page.html"),
        ("purge", "--days", "1"),
        ("audit", "verify"),
        ("audit", "verify", "--json"),
        ("archive", "--days", "1", "--dry-run"),
        ("health", "scoring"),
        ("doctor",),
        ("doctor", "--json"),
        ("forget", message, "--by", "n-1", "--reason", HOSTILE),
        ("forget", message, "--by", "n-1", "--reason", "case-7"),
    ]


def test_no_command_prints_a_raw_control_or_format_character(
    triage: Triage, hostile: dict[str, str], tmp_path: Path, model_folder: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    raw: dict[str, list[str]] = {}
    shown = ""
    for command in _commands(hostile, folder, model_folder):
        result = triage(*command)
        assert "internal error" not in result.err, (command, result.err)
        shown += result.out
        if found := _raw(result.out + result.err):
            raw[ascii([str(word) for word in command])] = found

    assert raw == {}
    assert _raw((folder / "page.html").read_text(encoding="utf-8")) == []
    assert r"\x1b[2J\x9b31m\u202e\u2028\n\tx" in shown  # the text is shown, not left out
