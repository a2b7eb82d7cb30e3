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
from worker.cli.tables import print_line


@command()
@click.option(
    "--days",
    type=DAYS,
    required=True,
    help="Archive threads whose last message is older than this.",
)
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Folder to write the files to.")
@by_option("Who archives")
@click.option("--dry-run", is_flag=True, help="Count the threads without moving them.")
@json_option
def archive(days: float, folder: Path | None, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Move old threads from the database into files of JSON lines, as the role that owns the tables.

    The next purge removes their photos. Reports and rescoring no longer include them. The files contain senders' ids:
    protect them like the database.
    """
    if folder is None and not dry_run:
        raise click.UsageError("missing option --to FOLDER: name the folder to write the files to")
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
        print_line(f"threads to archive: {threads}")


def _move(folder: Path, before: datetime, *, by: str, as_json: bool) -> None:
    from triage.retention.archive import archive_threads  # deferred: imports SQLAlchemy

    moved: Counter[str] = Counter(dict.fromkeys(("threads", "messages", "attachments", "verdicts"), 0))
    files = []
    try:
        with administration_sessions() as sessions:
            for batch in archive_threads(sessions, folder, before=before, actor=by):
                moved.update(batch.counts)
                files.append((batch.file, batch.sha256))
                if not as_json:
                    print_line(f"{batch.sha256}  {batch.file}")
    except TriageError as error:
        done = f" ({len(files)} files are complete, and their threads are archived)" if files else ""
        raise type(error)(f"{error}{done}") from error
    if as_json:
        from worker.documents.operations import ArchiveDocument, ArchiveFileDocument  # deferred: imports pydantic

        written = [ArchiveFileDocument(file=str(file), sha256=sha256) for file, sha256 in files]
        print_document(ArchiveDocument(before=before, dry_run=False, **moved, files=written))
    else:
        print_line(
            f"archived: {moved['threads']} threads with {moved['messages']} messages and {moved['verdicts']} verdicts, "
            f"in {len(files)} files"
        )
