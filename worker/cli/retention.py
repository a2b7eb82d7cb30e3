"""`triage purge` and `triage forget`: delete photos after the retention time, and messages on request."""

from datetime import timedelta
from pathlib import Path

import click

from worker.cli.commands import command
from worker.cli.options import DAYS, by_option
from worker.cli.output import count, json_option, print_document
from worker.cli.owner import administration_sessions
from worker.cli.tables import print_line
from worker.services import open_services


@command()
@click.option("--days", type=DAYS, help="Retention time in days. [default: TRIAGE_RETENTION__PHOTO_DAYS]")
@by_option("Who purges")
@click.option("--dry-run", is_flag=True, help="Count the photos without removing them.")
@json_option
def purge(days: float | None, by: str, *, dry_run: bool, as_json: bool) -> None:
    """Remove the bytes of photos after the retention time. Rows, hashes and verdicts stay.

    Photos that are not scored yet are kept. Photos of forgotten messages and files without a row are removed as well,
    and are the only ones removed if no retention time is set. If a purge is interrupted, the next one continues it.
    """
    from triage.retention.purge import Retention  # deferred: imports SQLAlchemy

    with open_services() as services:
        keep = timedelta(days=days) if days else services.settings.keep_photos
        retention = Retention(services.sessions, services.blobs, keep=keep)
        if dry_run:
            photos, size = retention.count_due()
            strays = 0
        else:
            purged = retention.purge(actor=by)
            photos, size, strays = purged.photos, purged.bytes, purged.strays
    if as_json:
        from worker.documents.operations import PurgeDocument  # deferred: imports pydantic

        days_kept = keep / timedelta(days=1) if keep else None
        print_document(PurgeDocument(days=days_kept, dry_run=dry_run, photos=photos, bytes=size, strays=strays))
        return
    verb = "to remove" if dry_run else "removed"
    print_line(f"{verb}: {photos} photos, {size / 2**20:.1f} MiB; files without a row: {strays}")


@command()
@click.argument("message_id")
@click.option("--source", help="Source of the message, if several sources use the same id.")
@by_option("Who forgets", required=True)
@click.option("--reason", required=True, help="A code or the number of the request; stored permanently.")
@click.option(
    "--archive",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of `triage archive`: forget in its files, as the role that owns the tables.",
)
@json_option
def forget(message_id: str, source: str | None, by: str, reason: str, folder: Path | None, *, as_json: bool) -> None:
    """Erase a message: ids of its sender, texts, URIs and photos. Verdicts, decisions and counts stay."""
    if folder is None:
        _forget(message_id, source, by=by, reason=reason, as_json=as_json)
    else:
        _forget_archived(message_id, source, folder, by=by, reason=reason, as_json=as_json)


def _forget(message_id: str, source: str | None, *, by: str, reason: str, as_json: bool) -> None:
    from triage.retention.forget import forget as forget_message  # deferred: imports SQLAlchemy

    with open_services() as services:
        policy = services.settings.retake_policy
        forgotten = forget_message(
            services.sessions, services.retention, message_id, source, by=by, reason=reason, policy=policy
        )
    if as_json:
        from worker.documents.operations import ForgottenDocument  # deferred: imports pydantic

        print_document(ForgottenDocument.of(forgotten))
        return
    print_line(
        f"message {forgotten.message_id}: forgotten, with {count(forgotten.photos, 'photo')}; the bytes of "
        f"{forgotten.photos_removed} are deleted, of {forgotten.photos_shared} are kept for another message"
    )


def _forget_archived(message_id: str, source: str | None, folder: Path, *, by: str, reason: str, as_json: bool) -> None:
    from triage.retention.forget_archived import forget_archived  # deferred: imports SQLAlchemy

    with administration_sessions() as sessions:
        written = forget_archived(sessions, folder, message_id, source, by=by, reason=reason)
    if as_json:
        from worker.documents.operations import RewrittenFileDocument  # deferred: imports pydantic

        print_document([RewrittenFileDocument.of(each) for each in written])
        return
    for each in written:
        print_line(f"{each.sha256}  {each.file}")
    print_line(f"files rewritten: {len(written)}")
