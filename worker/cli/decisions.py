"""`triage decisions`: the feed of decisions, for message systems that read it by command."""

import click

from worker.cli.commands import command
from worker.cli.options import ROWS
from worker.cli.output import json_option, local_time, outcome_text, print_document
from worker.cli.tables import Column, print_line, print_table
from worker.services import open_services


@command()
@click.option(
    "--after", metavar="CURSOR", help="Continue after the page that printed this cursor. [default: the start]"
)
@click.option("--limit", type=ROWS, default=100, show_default=True)
@json_option
def decisions(after: str | None, limit: int, *, as_json: bool) -> None:
    """Show the decisions that follow a cursor: each exactly once, in an order that never changes."""
    from triage.retakes.feed import list_decisions  # deferred: imports SQLAlchemy

    with open_services() as services:
        page = list_decisions(services.sessions, after=after, limit=limit)
    if as_json:
        from worker.documents.decisions import DecisionsDocument  # deferred: imports pydantic

        print_document(DecisionsDocument.of(page))
        return
    print_table(
        ("decided", "message", "outcome", "reason", Column("source", 1), Column("thread", 2), Column("model", 3)),
        (
            (local_time(d.decided_at), d.message, outcome_text(d.outcome), d.reason, d.source, d.thread, d.model)
            for d in page.decisions
        ),
    )
    print_line(f"cursor: {page.cursor}")
