"""`triage audit`: verification of the audit trail."""

import click

from triage.domain.audit import Anchor
from triage.errors import TriageError
from worker.cli.commands import group
from worker.cli.output import json_option, print_document
from worker.cli.tables import print_line, print_table
from worker.services import open_services


@group()
def audit() -> None:
    """Verify the audit trail: a chain of hashes over views, overrides, promotions, claims, purges and erasures."""


@audit.command()
@click.option("--anchor", help="A head recorded before, as POSITION:HASH; the chain must still contain it.")
@json_option
def verify(anchor: str | None, *, as_json: bool) -> None:
    """Verify the chain of events and print its head.

    Exits with 1 if an event was changed, removed, reordered or truncated. Store the printed head outside the database.
    """
    from triage.monitoring.audit_trail import verify_audit_trail  # deferred: imports SQLAlchemy

    with open_services() as services:
        verification = verify_audit_trail(services.sessions, Anchor.parse(anchor) if anchor else None)
    flaws = verification.flaws
    if as_json:
        from worker.documents.operations import VerificationDocument  # deferred: imports pydantic

        print_document(VerificationDocument.of(verification))
    else:
        if flaws:
            print_table(("position", "flaw", "event"), ((f.position, f.kind, f.event_id) for f in flaws))
        print_line(f"events: {verification.events}")
        print_line(f"head: {verification.head}")
    if flaws:
        raise TriageError(f"the audit trail is damaged ({len(flaws)} flaws): compare it with a backup")
