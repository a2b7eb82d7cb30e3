"""`triage drift`: are recent photos still like those at the promotion of the live model?"""

from datetime import UTC, datetime
from typing import Any

import click

from worker.cli.commands import command
from worker.cli.options import TIMES
from worker.cli.output import json_option, print_document
from worker.cli.tables import Column, Styled, print_line, print_table
from worker.services import open_services


@command()
@click.option("--at", type=TIMES, help="Take the last week that is complete at this time (UTC). [default: now]")
@json_option
def drift(at: datetime | None, *, as_json: bool) -> None:
    """Compare the photos of the last complete week with those at the promotion of the live model, for each source."""
    from triage.reports.drift import describe, find_drift  # deferred: imports numpy and SQLAlchemy

    with open_services() as services:
        found = find_drift(services.sessions, at and at.replace(tzinfo=UTC))
    if as_json:
        from worker.documents.drift import DriftDocument  # deferred: imports pydantic

        print_document(DriftDocument.model_validate(found))
        return
    if found["current"] is None:
        print_line(describe(found))
        return
    print_line(
        f"{found['model']}: photos of {_days(found['current'])} compared with {_days(found['reference'])}, "
        f"after its promotion"
    )
    print_table(
        ("source", "feature", "", "PSI", "p", Column("threads then", 2), Column("threads now", 1)),
        (row for source in found["sources"] for row in _rows(source)),
    )
    print_line(describe(found))
    for source in found["sources"]:
        for message in source["review"][:3]:
            print_line(f"look at a message of {source['source']}: triage explain {message}")
    print_line(f"without any change, one week in {round(1 / found['false_alarm_rate'])} has a DRIFT here")


def _rows(source: dict[str, Any]) -> list[tuple[Any, ...]]:
    counts = (source["n_reference"], source["n_current"])
    if source["drifted"] is None:
        return [(source["source"], "", "too few", "", "", *counts)]
    return [
        (
            source["source"],
            feature["feature"],
            Styled("DRIFT", "red", bold=True) if feature["drifted"] else Styled("stable", "green"),
            f"{feature['psi']:.3f}",
            f"{feature['adjusted_p_value']:.2g}",
            *counts,
        )
        for feature in source["features"]
    ]


def _days(period: dict[str, str]) -> str:
    since, until = (datetime.fromisoformat(period[end]).astimezone(UTC) for end in ("since", "until"))
    return f"{since:%Y-%m-%d} to {until:%Y-%m-%d}"
