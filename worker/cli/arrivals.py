"""`triage arrivals`: messages that are read on the EHR's server."""

from collections.abc import Sequence
from uuid import UUID

import click

from triage.domain.ids import ArrivalId
from triage.domain.states import ArrivalStatus
from worker.cli.commands import group
from worker.cli.options import ROWS, by_option
from worker.cli.output import count, json_option, local_time, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services


@group()
def arrivals() -> None:
    """Show messages that are read on the EHR's server; retry and drop those that cannot be read."""


@arrivals.command("list")
@click.option("--status", type=click.Choice([status.value for status in ArrivalStatus]))
@click.option("--source", help="Only messages of this source.")
@click.option("--limit", type=ROWS, default=100, show_default=True)
@json_option
def list_(status: str | None, source: str | None, limit: int, *, as_json: bool) -> None:
    """Show messages and whether they were read, the last announced first."""
    from triage.arrivals import manage  # deferred: imports SQLAlchemy

    with open_services() as services:
        found = manage.list_arrivals(
            services.sessions, status=ArrivalStatus(status) if status else None, source=source, limit=limit
        )
    if as_json:
        from worker.documents.arrivals import ArrivalDocument  # deferred: imports pydantic

        print_document([ArrivalDocument.of(each) for each in found])
        return
    print_table(
        ("arrival", "message", "status", "attempts", "error", Column("next attempt", 1), Column("source", 2)),
        (
            (
                each.id,
                each.reference,
                each.status,
                each.attempts,
                each.error or "",
                local_time(each.due_at) if each.due_at else "",
                each.source,
            )
            for each in found
        ),
    )


@arrivals.command()
@click.argument("arrival", type=click.UUID, required=False)
@click.option("--dead", is_flag=True, help="All dead messages.")
@click.option("--source", help="Only messages of this source.")
@by_option("Who retries", required=True)
@json_option
def retry(arrival: UUID | None, source: str | None, by: str, *, dead: bool, as_json: bool) -> None:
    """Read a message now that is dead or waits to be read again, or all dead ones."""
    from triage.arrivals import manage  # deferred: imports SQLAlchemy

    with open_services() as services:
        changed = manage.retry(services.sessions, arrival_id=_one(arrival, dead=dead), source=source, by=by)
        if changed:
            services.wake_ups.arrivals()
    _print(changed, "due now", as_json=as_json)


@arrivals.command()
@click.argument("arrival", type=click.UUID, required=False)
@click.option("--dead", is_flag=True, help="All dead messages.")
@click.option("--source", help="Only messages of this source.")
@by_option("Who drops", required=True)
@json_option
def drop(arrival: UUID | None, source: str | None, by: str, *, dead: bool, as_json: bool) -> None:
    """Give up a message that is dead or waits, or all dead ones, until it changes on its server."""
    from triage.arrivals import manage  # deferred: imports SQLAlchemy

    with open_services() as services:
        changed = manage.drop(services.sessions, arrival_id=_one(arrival, dead=dead), source=source, by=by)
    _print(changed, "dropped", as_json=as_json)


def _one(arrival: UUID | None, *, dead: bool) -> ArrivalId | None:
    if (arrival is None) != dead:
        raise click.UsageError("give ARRIVAL or --dead")
    return None if arrival is None else ArrivalId(arrival)


def _print(changed: Sequence[ArrivalId], state: str, *, as_json: bool) -> None:
    if as_json:
        from worker.documents.arrivals import ArrivalChangeDocument  # deferred: imports pydantic

        print_document(ArrivalChangeDocument(arrivals=list(changed)))
        return
    print_line(f"{count(len(changed), 'message')}: {state}")
