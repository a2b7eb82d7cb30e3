"""Reports over years of messages, and intake and claims there beside an empty database and beside an archiving.

    python -m benchmarks.reports --json reports.json

Ten million verdicts need 12 GB below /var/tmp and a quarter of an hour. It fails if a query reads a large table whole.
"""

import argparse
import json
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import select, text

from benchmarks.clinic import Clinic, clinic, make_card
from benchmarks.history import write_history
from benchmarks.inbox import PHOTOS_PER_MESSAGE, drain_all, seconds
from benchmarks.queries import LARGE_TABLES, Query, standard_queries, tables_scanned
from triage.archive import archive
from triage.domain import MessageId, ModelVersionId, Stage
from triage.storage import models
from triage.storage.tables import Message

MESSAGES = 1000
ROUNDS = 7
TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    arguments = parser.parse_args()
    with clinic() as own:
        shadow, first = add_shadow(own), count(step=MESSAGES)
        inbox = {"empty": measure_inbox(own, first)}
        fill(own, arguments.verdicts, shadow)
        inbox["full"] = measure_inbox(own, first)
        with archiving(own) as archived:
            inbox["full, archiving"] = measure_inbox(own, first)
        result: dict[str, Any] = {
            "rows": count_rows(own),
            "inbox": inbox,
            "archived_threads": sum(archived),
            "queries": {name: measure_query(own, query) for name, query in queries_of(own, shadow).items()},
        }
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if scanned := {name: found["scanned"] for name, found in result["queries"].items() if found["scanned"]}:
        raise SystemExit(f"queries that read a large table whole: {scanned}")


def add_shadow(own: Clinic) -> ModelVersionId:
    with own.sessions.begin() as session:
        model, _ = models.add(session, make_card("shadow", weights_sha256="1" * 64))
        models.set_stage(session, model.id, Stage.SHADOW)
    return model.id


def fill(own: Clinic, n_verdicts: int, shadow: ModelVersionId) -> None:
    history = write_history(own.sessions.kw["bind"], n_verdicts, live=own.model, shadow=shadow, until=datetime.now(UTC))
    with Progress() as progress:
        task = progress.add_task("writing messages")
        for done, total in history:
            progress.update(task, completed=done, total=total)


def measure_inbox(own: Clinic, first: Iterator[int]) -> dict[str, float]:
    """Attachments a second through intake, and through claim, record and decide."""
    n = MESSAGES * PHOTOS_PER_MESSAGE
    rates: dict[str, list[float]] = {"intake": [], "claim, record, decide": []}
    for _ in range(ROUNDS):
        send = partial(own.send_uris, MESSAGES, PHOTOS_PER_MESSAGE, bulk=100, first=next(first))
        rates["intake"].append(n / seconds(send))
        rates["claim, record, decide"].append(n / seconds(partial(drain_all, own, n)))
    return {step: statistics.median(found[1:]) for step, found in rates.items()}  # the first round warms up


@contextmanager
def archiving(own: Clinic) -> Iterator[list[int]]:
    """Archives threads that ended a year ago, until it is told to stop; yields how many went into each file."""
    archived: list[int] = []
    stop = Event()

    def go_on() -> None:
        before = datetime.now(UTC) - timedelta(days=365)
        for batch in archive(own.sessions, own.folder / "archive", before=before, actor="benchmark"):
            archived.append(batch.counts["threads"])
            if stop.is_set():
                return

    with ThreadPoolExecutor(1) as thread:
        going = thread.submit(go_on)
        yield archived
        if going.done():
            raise SystemExit("all was archived before the inbox was measured: ask for more verdicts")
        stop.set()
        going.result()


def queries_of(own: Clinic, shadow: ModelVersionId) -> dict[str, Query]:
    now = datetime.now(UTC)
    with own.sessions() as session:
        lately = Message.received_at > now - timedelta(days=100)
        row = session.scalars(select(Message).where(lately).order_by(Message.received_at).limit(1)).one()
    return dict(standard_queries(now, MessageId(row.id), row.external_id, shadow))


def measure_query(own: Clinic, query: Query) -> dict[str, Any]:
    times = []
    for _ in range(TIMES):
        with own.sessions() as session:
            times.append(1000 * seconds(partial(query, session)))
    with own.sessions() as session:
        scanned = sorted(tables_scanned(session, query))
    return {"median_ms": statistics.median(times), "slowest_ms": max(times), "scanned": scanned}


def count_rows(own: Clinic) -> dict[str, int]:
    with own.sessions() as session:
        return {table: session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in sorted(LARGE_TABLES)}


def show(result: dict[str, Any]) -> None:
    console = Console()
    console.print(", ".join(f"{rows:,} {table}s" for table, rows in result["rows"].items()) + "\n")
    table = Table("query", "median, ms", "slowest, ms", "reads whole", box=None, pad_edge=False)
    for name, found in result["queries"].items():
        table.add_row(
            name, f"{found['median_ms']:.1f}", f"{found['slowest_ms']:.1f}", ", ".join(found["scanned"]) or "-"
        )
    console.print(table)
    inbox = result["inbox"]
    table = Table("of the rate on an empty database", *inbox["empty"], box=None, pad_edge=False)
    for name, rates in inbox.items():
        table.add_row(name, *(f"{rate / inbox['empty'][step]:.2f}" for step, rate in rates.items()))
    console.print()
    console.print(table)
    print(f"\narchived meanwhile: {result['archived_threads']:,} threads")


if __name__ == "__main__":
    main()
