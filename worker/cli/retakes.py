"""`triage retakes`: the outbox, for message systems that collect their requests by command."""

from datetime import timedelta
from uuid import UUID

import click

from triage.domain.ids import LeaseToken, RetakeRequestId
from triage.domain.states import RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.storage import audit, outbox
from worker.cli.options import ROWS, SECONDS, by_option
from worker.cli.output import json_option, print_json, print_table, request_json
from worker.services import services


@click.group()
def retakes() -> None:
    """Collect retake requests: list, claim, ack, withdraw."""


@retakes.command("list")
@click.option("--status", type=click.Choice([status.value for status in RetakeStatus]))
@click.option("--limit", type=ROWS, default=100, show_default=True)
@json_option
def list_(status: str | None, limit: int, *, as_json: bool) -> None:
    """Show retake requests, newest first."""
    with services().sessions() as session:
        requests = outbox.list_requests(session, status=RetakeStatus(status) if status else None, limit=limit)
    if as_json:
        print_json([request_json(request, with_token=False) for request in requests])
        return
    print_table(
        ("request", "message", "source", "status", "flagged", "model"),
        ((r.id, r.message, r.source, r.status, f"{r.created_at:%Y-%m-%d %H:%M}", r.model) for r in requests),
    )


@retakes.command()
@click.option("--limit", type=ROWS, default=10, show_default=True)
@click.option("--lease-seconds", type=SECONDS, default=300, show_default=True)
@by_option("Who sends")
@json_option
def claim(limit: int, lease_seconds: float, by: str, *, as_json: bool) -> None:
    """Take requests to send, oldest first; ack each with its token before the lease runs out."""
    with services().sessions.begin() as session:
        requests = outbox.claim(session, limit=limit, lease=timedelta(seconds=lease_seconds), by=by)
        for request in requests:
            audit.record(session, actor=by, action="retake.claimed", subject_kind="retake", subject_id=request.id)
    if as_json:
        print_json([request_json(request, with_token=True) for request in requests])
        return
    print_table(("request", "message", "token"), ((r.id, r.message, r.token) for r in requests))


@retakes.command()
@click.argument("request_id", type=click.UUID)
@click.option("--token", type=click.UUID, required=True, help="The token that `claim` gave.")
@by_option("Who sends")
@json_option
def ack(request_id: UUID, token: UUID, by: str, *, as_json: bool) -> None:
    """Say that a claimed request was sent."""
    with services().sessions.begin() as session:
        if not outbox.acknowledge(session, RetakeRequestId(request_id), LeaseToken(token)):
            raise LeaseLostError("the request was withdrawn or claimed by another sender since: do not send it")
        audit.record(session, actor=by, action="retake.acked", subject_kind="retake", subject_id=request_id)
    _show(request_id, as_json=as_json)


@retakes.command()
@click.argument("request_id", type=click.UUID)
@by_option("Who withdraws", required=True)
@json_option
def withdraw(request_id: UUID, by: str, *, as_json: bool) -> None:
    """Withdraw a request that nobody has sent or is sending."""
    with services().sessions.begin() as session:
        request = outbox.find(session, RetakeRequestId(request_id))
        if request is None:
            raise UsageError("no retake request has this id: `triage retakes list` shows them")
        if not outbox.withdraw(session, [request.message_id], reason="withdrawn_by_person"):
            raise UsageError(f"the request cannot be withdrawn, it is {request.status.value}")
        audit.record(session, actor=by, action="retake.withdrawn", subject_kind="retake", subject_id=request_id)
    _show(request_id, as_json=as_json)


def _show(request_id: UUID, *, as_json: bool) -> None:
    with services().sessions() as session:
        request = outbox.find(session, RetakeRequestId(request_id))
    if request is None:
        raise UsageError("no retake request has this id: `triage retakes list` shows them")
    if as_json:
        print_json(request_json(request, with_token=False))
    else:
        click.echo(f"retake request {request.id}: {request.status.value}")
