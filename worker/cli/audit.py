"""`triage audit`: whether the audit trail is whole."""

import re

import click

from triage.errors import TriageError, UsageError
from triage.storage import audit as trail
from triage.storage.audit import Anchor
from worker.cli.output import json_option, print_json, print_table
from worker.services import services


@click.group()
def audit() -> None:
    """Check the audit trail, a chain of hashes: who saw, overrode, promoted, claimed, purged and forgot."""


@audit.command()
@click.option("--anchor", help="A head that was noted before, as POSITION:HASH: the chain must still go through it.")
@json_option
def verify(anchor: str | None, *, as_json: bool) -> None:
    """Exit 1 if an event was changed, taken out, moved or cut off. Prints the head: note it somewhere else."""
    noted = _parse(anchor) if anchor else None
    with services().sessions() as session:
        verification = trail.verify(session, noted)
    head = f"{verification.head.position}:{verification.head.hash}"
    flaws = verification.flaws
    if as_json:
        print_json(
            {
                "ok": not flaws,
                "events": verification.events,
                "head": head,
                "flaws": [
                    {"position": f.position, "kind": f.kind, "event_id": str(f.event_id) if f.event_id else None}
                    for f in flaws
                ],
            }
        )
    else:
        if flaws:
            print_table(("position", "flaw", "event"), ((f.position, f.kind, f.event_id) for f in flaws))
        click.echo(f"events: {verification.events}\nhead: {head}")
    if flaws:
        raise TriageError(f"the audit trail is not whole, {len(flaws)} flaws: compare it with a backup")


def _parse(anchor: str) -> Anchor:
    match = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", anchor)
    if match is None:
        raise UsageError("--anchor: give a head as `triage audit verify` prints it, POSITION:HASH")
    return Anchor(int(match[1]), match[2])
