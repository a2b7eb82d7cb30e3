"""Reports over years of messages; intake and claims there, in an empty database and during archiving.

    python -m benchmarks.reports --json reports.json

Ten million verdicts need 13 GB in /var/tmp and 15 minutes. The benchmark fails if a frequent query scans a large table
completely.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import select, text

from benchmarks.clinic import Clinic, clinic, make_card
from benchmarks.history import write_history
from benchmarks.inbox import PHOTOS_PER_MESSAGE, drain_all
from benchmarks.queries import LARGE_TABLES, Query, standard_queries, tables_scanned
from benchmarks.rates import seconds
from triage.domain.ids import MessageId, ModelVersionId
from triage.domain.reporting import Period
from triage.domain.states import Stage
from triage.reports.summary import summarise
from triage.storage import model_versions as models
from triage.storage import retention
from triage.storage.archive import count_closed
from triage.storage.tables import Message

MESSAGES = 1000
ROUNDS = 7
TIMES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    with clinic() as site:
        shadow, first = add_shadow(site), count(step=MESSAGES)
        inbox = {"empty": measure_inbox(site, first)}
        fill(site, arguments.verdicts, shadow)
        inbox["full"] = measure_inbox(site, first)
        with archiving(site) as still_archives:
            inbox["full, archiving"] = measure_inbox(site, first)
            if not still_archives():
                del inbox["full, archiving"]
                print("archiving ended before the inbox was measured: use more --verdicts")
        result: dict[str, Any] = {
            "rows": count_rows(site),
            "inbox": inbox,
            "queries": {name: measure_query(site, query) for name, query in queries_of(site, shadow).items()},
            "rare": {name: measure_query(site, query) for name, query in rare_queries().items()},
        }
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if scanned := {name: found["scanned"] for name, found in result["queries"].items() if found["scanned"]}:
        raise SystemExit(f"queries that read a large table whole: {scanned}")


def add_shadow(site: Clinic) -> ModelVersionId:
    with site.sessions.begin() as session:
        model, _ = models.add(session, make_card("shadow", weights_sha256="1" * 64))
        models.set_stage(session, model.id, Stage.SHADOW)
    return model.id


def fill(site: Clinic, n_verdicts: int, shadow: ModelVersionId) -> None:
    history = write_history(
        site.sessions.kw["bind"], n_verdicts, live=site.model, shadow=shadow, until=datetime.now(UTC)
    )
    with Progress() as progress:
        task = progress.add_task("writing messages")
        for done, total in history:
            progress.update(task, completed=done, total=total)


def measure_inbox(site: Clinic, first: Iterator[int]) -> dict[str, float]:
    """Attachments per second through intake, and through claim, record and decide."""
    n = MESSAGES * PHOTOS_PER_MESSAGE
    rates: dict[str, list[float]] = {"intake": [], "claim, record, decide": []}
    for _ in range(ROUNDS):
        send = partial(site.send_uris, MESSAGES, PHOTOS_PER_MESSAGE, bulk=100, first=next(first))
        rates["intake"].append(n / seconds(send))
        rates["claim, record, decide"].append(n / seconds(partial(drain_all, site, n)))
    return {step: statistics.median(found[1:]) for step, found in rates.items()}  # the first round warms up


@contextmanager
def archiving(site: Clinic) -> Iterator[Callable[[], bool]]:
    """Archives threads that ended two years ago in another process; yields a check whether it still runs."""
    command = [
        str(Path(sys.executable).with_name("triage")),
        "archive",
        "--days",
        "730",
        "--to",
        str(site.folder / "archive"),
    ]
    environment = os.environ | {"TRIAGE_HOME": str(site.folder / "state")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first file is done
        try:
            yield lambda: process.poll() is None
        finally:
            process.terminate()
        if process.wait() > 0:
            raise SystemExit("the archiving failed")


def queries_of(site: Clinic, shadow: ModelVersionId) -> dict[str, Query]:
    now = datetime.now(UTC)
    with site.sessions() as session:
        lately = Message.received_at > now - timedelta(days=100)
        row = session.scalars(select(Message).where(lately).order_by(Message.received_at).limit(1)).one()
    return dict(standard_queries(now, MessageId(row.id), row.external_id, live=site.model, shadow=shadow))


def rare_queries() -> dict[str, Query]:
    """Queries that must read all rows, or a year of rows."""
    year = Period(datetime.now(UTC) - timedelta(days=365))
    return {
        "report of a year": lambda session: summarise(session, year),
        "report of everything": lambda session: summarise(session, Period()),
        "purge: unreferenced hashes (once a night)": retention.forget_unreferenced,
        "purge --dry-run": lambda session: retention.count_older_than(session, timedelta(days=365)),
        "archive --dry-run": lambda session: count_closed(session, before=datetime.now(UTC) - timedelta(days=365)),
    }


def measure_query(site: Clinic, query: Query) -> dict[str, Any]:
    times = []
    for _ in range(TIMES):
        with site.sessions() as session:
            times.append(1000 * seconds(partial(query, session)))
    with site.sessions() as session:
        scanned = sorted(tables_scanned(session, query))
    return {"median_ms": statistics.median(times), "slowest_ms": max(times), "scanned": scanned}


def count_rows(site: Clinic) -> dict[str, int]:
    with site.sessions() as session:
        return {table: session.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in sorted(LARGE_TABLES)}


def show(result: dict[str, Any]) -> None:
    console = Console()
    console.print(", ".join(f"{rows:,} {table}s" for table, rows in result["rows"].items()) + "\n")
    table = Table("query", "median, ms", "slowest, ms", "reads whole", box=None, pad_edge=False)
    for name, found in (result["queries"] | result["rare"]).items():
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


if __name__ == "__main__":
    main()
