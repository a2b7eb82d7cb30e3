"""`triage doctor`: checks a deployment and says how to fix it."""

import sys

from worker.cli.commands import command
from worker.cli.output import json_option, print_document
from worker.cli.tables import Column, Styled, print_table
from worker.services import open_services


@command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Check every part of the deployment.

    Exits with 1 if a check fails, with 2 if a service refuses this process, for example because of a wrong password, or
    with 3 if a service is unavailable.
    """
    from worker.doctor import examine  # deferred: imports SQLAlchemy and redis

    with open_services() as services:
        checks = examine(services)
    if as_json:
        from worker.documents.operations import CheckDocument  # deferred: imports pydantic

        print_document([CheckDocument.of(check) for check in checks])
    else:
        print_table(
            ("check", "state", Column("detail", wrap=True), Column("what to do", wrap=True)),
            (
                (c.name, Styled("ok", "green") if c.ok else Styled("WRONG", "red", bold=True), c.detail, c.remedy)
                for c in checks
            ),
        )
    if any(check.unreachable for check in checks):
        sys.exit(3)
    if any(check.refused for check in checks):
        sys.exit(2)
    if not all(check.ok for check in checks):
        sys.exit(1)
