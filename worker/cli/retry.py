"""`triage retry`: tries parked photos again."""

from datetime import UTC, datetime

import click

from triage.errors import ErrorCode
from worker.cli.commands import command
from worker.cli.options import Moment, by_option
from worker.cli.output import count, json_option, print_document
from worker.cli.tables import print_line
from worker.services import open_services


@command()
@click.argument("message_id", required=False)
@click.option("--source", help="Source of the message, if several sources use the same id.")
@click.option("--error", type=click.Choice([code.value for code in ErrorCode]), help="Only photos with this code.")
@click.option(
    "--since",
    type=Moment("%Y-%m-%d", "%Y-%m-%dT%H:%M", written="YYYY-MM-DD[THH:MM]"),
    help="Only photos received from this time on (UTC).",
)
@by_option("Who retries", required=True)
@json_option
def retry(
    message_id: str | None, source: str | None, error: str | None, since: datetime | None, by: str, *, as_json: bool
) -> None:
    """Try parked photos again, such as those of a repaired share: of one message, or all with --error and --since.

    Photos whose bytes are purged stay parked. Each message is decided again when its photos are finished.
    """
    from triage.scoring.retry import retry_photos  # deferred: imports SQLAlchemy

    with open_services() as services:
        requeued = retry_photos(
            services.sessions,
            message=message_id,
            source=source,
            error=ErrorCode(error) if error else None,
            since=since.replace(tzinfo=UTC) if since else None,
            by=by,
        )
        if requeued.photos:
            services.wake_ups.inbox()
    if as_json:
        from worker.documents.operations import RequeuedDocument  # deferred: imports pydantic

        print_document(RequeuedDocument.of(requeued))
        return
    print_line(
        f"requeued: {count(requeued.photos, 'photo')} of {count(requeued.messages, 'message')}; "
        f"still parked, without bytes: {requeued.without_bytes}"
    )
