"""`triage retakes`: retake requests, for message systems that collect them by command."""

import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import click

from triage.domain.ids import LeaseToken, RetakeRequestId
from triage.domain.messages import RetakeRequest
from triage.domain.states import Acknowledged, RetakeStatus
from triage.errors import LeaseLostError, UsageError
from triage.files.kinds import refuse_device
from worker.cli.commands import group
from worker.cli.options import ROWS, SECONDS, by_option
from worker.cli.output import count, json_option, local_time, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services


@group()
def retakes() -> None:
    """Collect retake requests: list, claim, acknowledge, withdraw."""


@retakes.command("list")
@click.option("--status", type=click.Choice([status.value for status in RetakeStatus]))
@click.option("--limit", type=ROWS, default=100, show_default=True)
@json_option
def list_(status: str | None, limit: int, *, as_json: bool) -> None:
    """Show retake requests, newest first."""
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    with open_services() as services:
        found = requests.list_requests(services.sessions, status=RetakeStatus(status) if status else None, limit=limit)
    if as_json:
        from worker.documents.retakes import RetakeRequestDocument  # deferred: imports pydantic

        print_document([RetakeRequestDocument.of(request) for request in found])
        return
    print_table(
        ("request", "message", "status", Column("flagged", 1), Column("source", 2), Column("model", 3)),
        ((r.id, r.message, r.status, local_time(r.created_at), r.source, r.model) for r in found),
    )


@retakes.command()
@click.option("--limit", type=ROWS, default=10, show_default=True)
@click.option("--lease-seconds", type=SECONDS, default=300, show_default=True)
@click.option("--source", help="Only requests for messages of this source.")
@by_option("Who sends")
@json_option
def claim(limit: int, lease_seconds: float, source: str | None, by: str, *, as_json: bool) -> None:
    """Claim requests to send, oldest first.

    Acknowledge each request with its token before the lease expires.
    """
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    with open_services() as services:
        lease = timedelta(seconds=lease_seconds)
        claimed = requests.claim(
            services.sessions, limit=limit, lease=lease, by=by, sources=None if source is None else [source]
        )
    if as_json:
        from worker.documents.retakes import ClaimedRequestDocument  # deferred: imports pydantic

        print_document([ClaimedRequestDocument.of(request) for request in claimed])
        return
    print_table(("request", "message", "token"), ((r.id, r.message, r.token) for r in claimed))


@retakes.command()
@click.argument("request_id", type=click.UUID, required=False)
@click.option("--token", type=click.UUID, help="The token printed by `claim`.")
@click.option(
    "--file",
    "file",
    metavar="FILE",
    help="Acknowledge many: what `claim --json` printed, or lines of JSON with id and token. `-` is stdin.",
)
@by_option("Who sends")
@json_option
def ack(request_id: UUID | None, token: UUID | None, file: str | None, by: str, *, as_json: bool) -> None:
    """Acknowledge that claimed requests were sent: one by its id and token, or many from a file.

    Exit code 1: a request was withdrawn after the claim, or another sender holds it. Do not send its reply.
    """
    if file is not None and request_id is None and token is None:
        _ack_all(file, by, as_json=as_json)
    elif file is None and request_id is not None and token is not None:
        _ack(request_id, token, by, as_json=as_json)
    else:
        raise click.UsageError("give REQUEST_ID and --token, or --file")


def _ack(request_id: UUID, token: UUID, by: str, *, as_json: bool) -> None:
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    with open_services() as services:
        request = requests.acknowledge(services.sessions, RetakeRequestId(request_id), LeaseToken(token), by=by)
    _show(request, as_json=as_json)
    if request.status is RetakeStatus.WITHDRAWN:
        raise LeaseLostError("the request was withdrawn after its claim: do not send the reply")


def _ack_all(file: str, by: str, *, as_json: bool) -> None:
    from triage.retakes import requests  # deferred: imports SQLAlchemy
    from worker.documents.retakes import AcknowledgedRequestsDocument, read_held_requests  # deferred: imports pydantic

    held = read_held_requests(_read(file))
    with open_services() as services:
        answers = requests.acknowledge_all(services.sessions, held, by=by)
    if as_json:
        print_document(AcknowledgedRequestsDocument.of(held, answers))
    else:
        print_table(
            ("request", "status"), ((each.id, answer.value) for each, answer in zip(held, answers, strict=True))
        )
    if others := sum(answer is not Acknowledged.SENT for answer in answers):
        raise LeaseLostError(f"{count(others, 'request')} of {len(held)} not acknowledged: do not send their replies")


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else refuse_device(Path(file)).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError("the file of requests cannot be read: check the path") from error


@retakes.command()
@click.argument("request_id", type=click.UUID)
@by_option("Who withdraws", required=True)
@json_option
def withdraw(request_id: UUID, by: str, *, as_json: bool) -> None:
    """Withdraw a request that is flagged or claimed."""
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    with open_services() as services:
        _show(requests.withdraw(services.sessions, RetakeRequestId(request_id), by=by), as_json=as_json)


def _show(request: RetakeRequest, *, as_json: bool) -> None:
    if as_json:
        from worker.documents.retakes import RetakeRequestDocument  # deferred: imports pydantic

        print_document(RetakeRequestDocument.of(request))
    else:
        print_line(f"retake request {request.id}: {request.status.value}")
