"""`triage deliveries`: events on their way to other systems."""

from collections.abc import Callable, Sequence
from uuid import UUID

import click

from triage.domain.ids import EventId
from triage.domain.states import DeliveryStatus
from worker.cli.commands import group
from worker.cli.options import ROWS, by_option
from worker.cli.output import count, json_option, local_time, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import Services, open_services


@group()
def deliveries() -> None:
    """Show events that are sent to other systems; retry and drop those that failed."""


@deliveries.command("list")
@click.option("--status", type=click.Choice([status.value for status in DeliveryStatus]))
@click.option("--target", help="Only events for this target.")
@click.option("--limit", type=ROWS, default=100, show_default=True)
@json_option
def list_(status: str | None, target: str | None, limit: int, *, as_json: bool) -> None:
    """Show events and whether their targets have accepted them, newest first."""
    from triage.deliveries import manage  # deferred: imports SQLAlchemy

    with open_services() as services:
        found = manage.list_deliveries(
            services.sessions, status=DeliveryStatus(status) if status else None, target=target, limit=limit
        )
    if as_json:
        from worker.documents.deliveries import DeliveryDocument  # deferred: imports pydantic

        print_document([DeliveryDocument.of(each) for each in found])
        return
    print_table(
        ("event", "type", "message", "status", "attempts", "error", Column("next attempt", 1), Column("target", 2)),
        (
            (
                each.id,
                each.kind,
                each.message,
                each.status,
                each.attempts,
                f"{each.error} {each.answer or ''}".strip() if each.error else "",
                local_time(each.due_at) if each.due_at else "",
                each.target,
            )
            for each in found
        ),
    )


@deliveries.command()
@click.argument("event_id", type=click.UUID, required=False)
@click.option("--dead", is_flag=True, help="All dead events.")
@click.option("--target", help="Only events for this target.")
@by_option("Who retries", required=True)
@json_option
def retry(event_id: UUID | None, target: str | None, by: str, *, dead: bool, as_json: bool) -> None:
    """Send an event now that is dead or waits for its next attempt, or all dead ones. Their ids stay the same."""
    from triage.deliveries import manage  # deferred: imports SQLAlchemy

    def change(services: Services) -> Sequence[EventId]:
        events = manage.retry(services.sessions, event_id=_one(event_id, dead=dead), target=target, by=by)
        if events:
            services.wake_ups.deliveries()
        return events

    _change(change, "due now", as_json=as_json)


@deliveries.command()
@click.argument("event_id", type=click.UUID, required=False)
@click.option("--dead", is_flag=True, help="All dead events.")
@click.option("--target", help="Only events for this target.")
@by_option("Who drops", required=True)
@json_option
def drop(event_id: UUID | None, target: str | None, by: str, *, dead: bool, as_json: bool) -> None:
    """Give up an event that is dead or waits, or all dead ones. They are never sent."""
    from triage.deliveries import manage  # deferred: imports SQLAlchemy

    _change(
        lambda services: manage.drop(services.sessions, event_id=_one(event_id, dead=dead), target=target, by=by),
        "dropped",
        as_json=as_json,
    )


@deliveries.command()
@click.argument("target")
@by_option("Who stops", required=True)
@json_option
def stop(target: str, by: str, *, as_json: bool) -> None:
    """Send no more events to a target, and drop those that wait. Remove its settings from all workers before."""
    from triage.deliveries import manage  # deferred: imports SQLAlchemy

    with open_services() as services:
        stopped = manage.stop(services.sessions, target, by=by)
    if as_json:
        from worker.documents.deliveries import StoppedTargetDocument  # deferred: imports pydantic

        print_document(StoppedTargetDocument.of(stopped))
        return
    print_line(f"target {stopped.target}: stopped, with {count(stopped.dropped, 'event')} dropped")


def _one(event_id: UUID | None, *, dead: bool) -> EventId | None:
    if (event_id is None) != dead:
        raise click.UsageError("give EVENT_ID or --dead")
    return None if event_id is None else EventId(event_id)


def _change(change: Callable[[Services], Sequence[EventId]], state: str, *, as_json: bool) -> None:
    with open_services() as services:
        events = change(services)
    if as_json:
        from worker.documents.deliveries import DeliveryChangeDocument  # deferred: imports pydantic

        print_document(DeliveryChangeDocument(events=list(events)))
        return
    print_line(f"{count(len(events), 'event')}: {state}")
