"""`triage archive`: old threads leave the database for files."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triage.errors import TriageError
from worker.cli.commands import command
from worker.cli.options import DAYS, by_option
from worker.cli.output import json_option, print_json
from worker.cli.owner import administration_engine

if TYPE_CHECKING:
    from triage.storage.database import Sessions


@command()
@click.option(
    "--days",
    type=DAYS,
    required=True,
    help="Threads whose last message came that long ago.",
)
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="The folder of the files.")
@by_option("Who archives")
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@json_option
def archive(days: float, folder: Path | None, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Move threads that ended long ago from the tables into files of JSON lines; as the role that owns the tables.

    Their photos go with the next purge. Reports count them no more, and rescoring leaves them alone. The files hold
    senders' ids: keep them as you keep the database.
    """
    from triage.storage.database import create_sessions  # deferred: imports SQLAlchemy

    if folder is None and not dry_run:
        raise click.UsageError("name the folder of the files: --to FOLDER")
    before = datetime.now(UTC) - timedelta(days=days)
    with administration_engine() as engine:
        sessions = create_sessions(engine)
        if folder is None or dry_run:
            _count(sessions, before, as_json=as_json)
        else:
            _move(sessions, folder, before, by=by, as_json=as_json)


def _count(sessions: "Sessions", before: datetime, *, as_json: bool) -> None:
    from triage.storage.archive import count_closed  # deferred: imports SQLAlchemy

    with sessions() as session:
        threads = count_closed(session, before=before)
    if as_json:
        print_json({"before": before, "dry_run": True, "threads": threads})
    else:
        click.echo(f"would go: {threads} threads")


def _move(sessions: "Sessions", folder: Path, before: datetime, *, by: str, as_json: bool) -> None:
    from triage.retention.archive import archive as archive_threads  # deferred: imports SQLAlchemy
    from triage.storage.database import database_errors  # deferred: imports SQLAlchemy

    gone: Counter[str] = Counter(dict.fromkeys(("threads", "messages", "attachments", "verdicts"), 0))
    files = []
    try:
        with database_errors():
            for batch in archive_threads(sessions, folder, before=before, actor=by):
                gone.update(batch.counts)
                files.append({"file": batch.file, "sha256": batch.sha256})
                if not as_json:
                    click.echo(f"{batch.sha256}  {batch.file}")
    except TriageError as error:
        done = f" ({len(files)} files are complete, and what is in them is gone)" if files else ""
        raise type(error)(f"{error}{done}") from error
    if as_json:
        print_json({"before": before, "dry_run": False, **gone, "files": files})
    else:
        click.echo(
            f"gone: {gone['threads']} threads, with {gone['messages']} messages and {gone['verdicts']} verdicts, "
            f"into {len(files)} files"
        )
