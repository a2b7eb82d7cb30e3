"""`triage archive`: moves old threads from the database into files."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from triage.errors import TriageError
from worker.cli.commands import command
from worker.cli.options import DAYS, by_option
from worker.cli.output import json_option, print_document
from worker.cli.owner import administration_sessions


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
    if folder is None and not dry_run:
        raise click.UsageError("name the folder of the files: --to FOLDER")
    before = datetime.now(UTC) - timedelta(days=days)
    if folder is None or dry_run:
        _count(before, as_json=as_json)
    else:
        _move(folder, before, by=by, as_json=as_json)


def _count(before: datetime, *, as_json: bool) -> None:
    from triage.retention.archive import count_archivable  # deferred: imports SQLAlchemy

    with administration_sessions() as sessions:
        threads = count_archivable(sessions, before=before)
    if as_json:
        from worker.documents.operations import ArchivePreviewDocument  # deferred: imports pydantic

        print_document(ArchivePreviewDocument(before=before, dry_run=True, threads=threads))
    else:
        click.echo(f"would go: {threads} threads")


def _move(folder: Path, before: datetime, *, by: str, as_json: bool) -> None:
    from triage.retention.archive import archive_threads  # deferred: imports SQLAlchemy

    gone: Counter[str] = Counter(dict.fromkeys(("threads", "messages", "attachments", "verdicts"), 0))
    files = []
    try:
        with administration_sessions() as sessions:
            for batch in archive_threads(sessions, folder, before=before, actor=by):
                gone.update(batch.counts)
                files.append((batch.file, batch.sha256))
                if not as_json:
                    click.echo(f"{batch.sha256}  {batch.file}")
    except TriageError as error:
        done = f" ({len(files)} files are complete, and what is in them is gone)" if files else ""
        raise type(error)(f"{error}{done}") from error
    if as_json:
        from worker.documents.operations import ArchiveDocument, ArchiveFileDocument  # deferred: imports pydantic

        written = [ArchiveFileDocument(file=str(file), sha256=sha256) for file, sha256 in files]
        print_document(ArchiveDocument(before=before, dry_run=False, **gone, files=written))
    else:
        click.echo(
            f"gone: {gone['threads']} threads, with {gone['messages']} messages and {gone['verdicts']} verdicts, "
            f"into {len(files)} files"
        )
