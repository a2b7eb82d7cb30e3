"""`triage clients`: who may call the HTTP interface."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from triage.domain.scopes import MEANINGS, Scope
from triage.errors import UsageError
from triage.files.kinds import refuse_device
from worker.cli.commands import group
from worker.cli.options import FiniteRange, by_option
from worker.cli.output import json_option, local_time, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services

if TYPE_CHECKING:
    from triage.clients.registration import NewKey

_SCOPE_HELP = f"What it may do; repeatable. {'; '.join(f'{scope}: {text}' for scope, text in MEANINGS.items())}."


@group()
def clients() -> None:
    """Add, list, rotate and revoke clients of the HTTP interface."""


@clients.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    required=True,
    help=_SCOPE_HELP,
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="Only messages of this source; repeatable. Without it, the client may handle those of all sources.",
)
@click.option("--jwks", metavar="FILE", help="Its public keys (a JSON Web Key Set), for tokens in place of a key.")
@click.option("--jwks-url", metavar="URL", help="Where it publishes them.")
@by_option("Who adds it")
@json_option
def add(
    name: str,
    scopes: tuple[str, ...],
    sources: tuple[str, ...],
    jwks: str | None,
    jwks_url: str | None,
    by: str,
    *,
    as_json: bool,
) -> None:
    """Add a client. Its key is printed once and stored nowhere: keep it as a secret."""
    from triage.clients import registration  # deferred: imports SQLAlchemy

    keys = None if jwks is None else _read_keys(jwks)
    with open_services() as services:
        made = registration.add(
            services.sessions,
            name,
            [Scope(scope) for scope in scopes],
            by=by,
            sources=sources or None,
            jwks=keys,
            jwks_url=jwks_url,
        )
    _show(made, as_json=as_json)


@clients.command("list")
@json_option
def list_(*, as_json: bool) -> None:
    """Show all clients, revoked ones included. No key is shown."""
    from triage.clients import registration  # deferred: imports SQLAlchemy
    from worker.documents.clients import ClientDocument  # deferred: imports pydantic

    with open_services() as services:
        documents = [ClientDocument.of(client) for client in registration.list_clients(services.sessions)]
    if as_json:
        print_document(documents)
        return
    print_table(
        (
            "client",
            "state",
            "credential",
            Column("sources", 1, wrap=True),
            Column("scopes", 2, wrap=True),
            Column("added", 3),
        ),
        (
            (
                each.name,
                "revoked" if each.revoked_at else "active",
                each.credential.replace("_", " "),
                "all" if each.sources is None else " ".join(each.sources),
                " ".join(each.scopes),
                local_time(each.created_at),
            )
            for each in documents
        ),
    )


@clients.command()
@click.argument("name")
@click.option(
    "--overlap-hours",
    type=FiniteRange(0, 2160),
    default=24,
    show_default=True,
    help="How long the previous key remains valid; 0 ends it at once.",
)
@by_option("Who rotates it")
@json_option
def rotate(name: str, overlap_hours: float, by: str, *, as_json: bool) -> None:
    """Give a client a new key, which is printed once."""
    from triage.clients import registration  # deferred: imports SQLAlchemy

    with open_services() as services:
        made = registration.rotate(services.sessions, name, by=by, overlap=timedelta(hours=overlap_hours))
    _show(made, as_json=as_json)


@clients.command()
@click.argument("name")
@by_option("Who revokes it")
@json_option
def revoke(name: str, by: str, *, as_json: bool) -> None:
    """End all keys and tokens of a client at once."""
    from triage.clients import registration  # deferred: imports SQLAlchemy

    with open_services() as services:
        client = registration.revoke(services.sessions, name, by=by)
    if as_json:
        from worker.documents.clients import ClientDocument  # deferred: imports pydantic

        print_document(ClientDocument.of(client))
    else:
        print_line(f"client {client.name}: revoked")


def _show(made: "NewKey", *, as_json: bool) -> None:
    if as_json:
        from worker.documents.clients import NewKeyDocument  # deferred: imports pydantic

        print_document(NewKeyDocument.of_new(made))
    elif made.key is None:
        print_line(f"client {made.client.name}: added; it asks for tokens with its private key")
    else:
        print_line(made.key)


def _read_keys(file: str) -> dict[str, Any]:
    try:
        keys = json.loads(refuse_device(Path(file)).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError("the key set cannot be read: check the path and that it is JSON") from error
    if not isinstance(keys, dict):
        raise UsageError("the key set is not a JSON object: give an object with `keys` (RFC 7517)")
    return keys
