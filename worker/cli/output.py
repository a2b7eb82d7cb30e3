"""How results are shown: one JSON document, or tables for people."""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from triage.domain.messages import RetakeRequest
from triage.domain.states import Outcome
from triage.errors import UsageError
from worker.logging import configure_logging
from worker.settings import load_settings

OUTCOME_STYLES = {
    Outcome.PASS: "green",
    Outcome.RETAKE: "bold red",
    Outcome.UNCERTAIN: "yellow",
    Outcome.NOT_ASSESSABLE: "magenta",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def console(file: TextIO | None = None) -> Console:
    return Console(file=file, highlight=False, width=max(100, shutil.get_terminal_size().columns) if file else None)


def error_console() -> Console:
    """For progress, which is not a result."""
    return Console(stderr=True, highlight=False)


def print_json(document: object) -> None:
    click.echo(json.dumps(document, default=_plain, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, to: Console | None = None) -> None:
    """Prints a table. A cell that is a `rich.text.Text` keeps its style; in any other, markup is plain text."""
    to = to or console()
    table = Table(*columns, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text("" if cell is None else str(cell)) for cell in row))
    first = table.columns[0]
    first.overflow = "fold"
    # an id stays in one piece, to be copied; a long path leaves room for the rest
    first.no_wrap = max((len(str(cell)) for cell in first.cells), default=0) <= to.width // 2
    to.print(table)


def write_text(path: Path, text: str) -> None:
    """
    Raises:
        UsageError: nothing can be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written to") from error


def outcome_text(outcome: str | None) -> Text:
    """An outcome in its colour."""
    if outcome is None:
        return Text("pending", style="dim")
    return Text(outcome, style=OUTCOME_STYLES[Outcome(outcome)])


def findings_text(findings: Sequence[Mapping[str, Any]], *, acceptable: bool) -> Text:
    """Why a photo fails, in a few words; for one that passes the same is advice, and dimmed."""
    words = ", ".join(f"{finding['kind'].replace('_', ' ')} ({finding['level']})" for finding in findings)
    if acceptable:
        return Text(words, style="dim")
    return Text(words or "no single cause measured")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def request_json(request: RetakeRequest, *, with_token: bool) -> dict[str, Any]:
    """A retake request as JSON types; the lease token only for the one who claimed it."""
    document: dict[str, Any] = {
        "id": str(request.id),
        "message_id": request.message,
        "source": request.source,
        "thread": request.thread,
        "locale": request.locale,
        "status": request.status.value,
        "created_at": request.created_at.isoformat(),
        "model": request.model,
    }
    if with_token:
        document["token"] = str(request.token)
        document["lease_until"] = request.lease_until.isoformat() if request.lease_until else None
    return document


def configure_from_settings() -> None:
    """Logs as the settings say. A malformed environment is reported by whoever needs the settings."""
    settings = load_settings()
    configure_logging(settings.log.level, settings.log.format)


def fail(message: str, code: int) -> NoReturn:
    click.echo(f"triage: {message}", err=True)
    sys.exit(code)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    return str(value)
