"""`triage report`: what came in, what became of it and what waits."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from triage.domain.states import Outcome
from triage.reports.html import render_html
from triage.reports.summary import Dimension, Period
from triage.reports.summary import report as report_period
from worker.cli.output import console, percent, print_table, write_text
from worker.services import open_services

_TIMES = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])
_USUAL_SPAN = timedelta(days=30)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_COUNTS = ("total", *(outcome.value for outcome in Outcome), "pending")


@click.command()
@click.option(
    "--since",
    type=_TIMES,
    help="Messages received from then on (UTC). Default: 30 days before --until, or before today.",
)
@click.option("--until", type=_TIMES, help="Messages received before then (UTC).")
@click.option("--by", type=click.Choice([d.value for d in Dimension]), multiple=True, help="Break down; repeatable.")
@click.option(
    "--format", "fmt", type=click.Choice(["table", "json", "csv", "html"]), default="table", show_default=True
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def report(since: datetime | None, until: datetime | None, by: tuple[str, ...], fmt: str, output: Path | None) -> None:
    """Report messages by outcome, the retake rate, scores and what waits."""
    period = _period(since, until)
    with open_services() as services:
        summary = report_period(services.sessions, period, [Dimension(name) for name in by])
    text = _RENDERERS[fmt](summary)
    if output is None:
        click.echo(text, nl=False)
        return
    write_text(output, text)


def to_table(summary: dict[str, Any]) -> str:
    """The summary as tables for people."""
    text = io.StringIO()
    out = console(text)
    messages = summary["messages"]
    ends = [f"{word} {summary[end][:16]} UTC" for word, end in (("from", "since"), ("before", "until")) if summary[end]]
    out.print(f"messages received {', '.join(ends) or 'at any time'}\n")
    print_table(
        ("messages", *_COUNTS[1:], "retake rate"),
        [(*(messages[name] for name in _COUNTS), percent(messages["retake_rate"]))],
        to=out,
    )
    if summary["groups"]:
        out.print()
        print_table(
            (*summary["by"], "messages", *_COUNTS[1:], "retake rate"),
            (
                (*(g[k] for k in summary["by"]), *(g[name] for name in _COUNTS), percent(g["retake_rate"]))
                for g in summary["groups"]
            ),
            to=out,
        )
    for scores in summary["scores"]:
        bars = "".join(_bar(count, max(scores["histogram"])) for count in scores["histogram"])
        out.print(
            f"\nscores, model: {scores['model']}   0 {bars} 1   n {scores['n']}, mean {scores['mean']:.3f}, "
            f"threshold {scores['threshold']:.3f}, acceptable {percent(scores['acceptable'] / scores['n'])}"
        )
    for shadow in summary["shadows"]:
        out.print(
            f"in the shadow: {shadow['model']} disagrees on {percent(shadow['disagreement'])} of {shadow['n']} photos "
            f"(good to bad {shadow['good_to_bad']}, bad to good {shadow['bad_to_good']})"
        )
    requests = ", ".join(f"{name} {count}" for name, count in summary["retake_requests"].items())
    out.print(f"\nretake requests: {requests}")
    if summary["errors"]:
        out.print("not assessable: " + ", ".join(f"{code} {count}" for code, count in summary["errors"].items()))
    if summary["oldest_pending_seconds"] is not None:
        out.print(f"oldest pending message: {summary['oldest_pending_seconds']:.0f} s")
    return text.getvalue()


def to_csv(summary: dict[str, Any]) -> str:
    """One row for each group, or one row in all."""
    columns = [*summary["by"], *_COUNTS, "retake_rate"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary["groups"] if summary["by"] else [summary["messages"]])
    return text.getvalue()


def _json(summary: dict[str, Any]) -> str:
    return json.dumps(summary, indent=2) + "\n"


def _bar(count: int, largest: int) -> str:
    return " ▁▂▃▄▅▆▇█"[-(-8 * count // largest)] if largest else " "


def _period(since: datetime | None, until: datetime | None) -> Period:
    """All of a clinic's years would keep a busy database busy for seconds, so they must be asked for."""
    end = until.replace(tzinfo=UTC) if until else None
    if since:
        return Period(since.replace(tzinfo=UTC), end)
    midnight = (end or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(midnight - min(_USUAL_SPAN, midnight - _EARLIEST), end)


_RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "table": to_table,
    "json": _json,
    "csv": to_csv,
    "html": render_html,
}
