"""`triage archive`: old threads leave the database for files."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from triage.archive import archive as archive_threads
from triage.storage.archive import count_closed
from triage.storage.engine import create_database_engine, create_sessions
from triage.storage.roles import MIGRATOR
from worker.cli.options import DAYS
from worker.cli.output import json_option, print_json
from worker.settings import load_settings


@click.command()
@click.option(
    "--days",
    type=DAYS,
    required=True,
    help="Threads whose last message came that long ago.",
)
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="The folder of the files.")
@click.option("--by", default="cli", show_default=True, help="Who archives: an opaque staff id.")
@click.option("--dry-run", is_flag=True, help="Only count what would go.")
@json_option
def archive(days: float, folder: Path | None, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Move threads that ended long ago from the tables into files of JSON lines; as the role that owns the tables.

    Their photos go with the next purge. Reports count them no more, and rescoring leaves them alone. The files hold
    senders' ids: keep them as you keep the database.
    """
    if folder is None and not dry_run:
        raise click.UsageError("name the folder of the files: --to FOLDER")
    before = datetime.now(UTC) - timedelta(days=days)
    engine = create_database_engine(load_settings().administration_url(MIGRATOR))
    sessions = create_sessions(engine)
    gone: Counter[str] = Counter(dict.fromkeys(("threads", "messages", "attachments", "verdicts", "files"), 0))
    try:
        if folder is None or dry_run:
            with sessions() as session:
                gone["threads"] = count_closed(session, before=before)
        else:
            for batch in archive_threads(sessions, folder, before=before, actor=by):
                gone.update(batch.counts, files=1)
    finally:
        engine.dispose()
    if as_json:
        print_json({"before": before.isoformat(), "dry_run": dry_run, **gone})
    elif dry_run:
        click.echo(f"would go: {gone['threads']} threads")
    else:
        click.echo(
            f"gone: {gone['threads']} threads, with {gone['messages']} messages and {gone['verdicts']} verdicts, "
            f"into {gone['files']} files"
        )
