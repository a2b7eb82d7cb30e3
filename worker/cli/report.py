"""`triage report`: messages by outcome, the retake rate, scores and pending work."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from triage.domain.reporting import (
    ABOUT_NO_MODEL,
    ANSWER_DAYS,
    MAX_ANSWER_DAYS,
    NO_MODEL,
    Dimension,
    compared_period,
    period_of_report,
)
from triage.domain.states import Outcome
from triage.reports.cells import Kind, ReportTable, text_of
from triage.reports.csv_table import COUNTS, render_csv, render_csv_table
from triage.reports.figures import figures
from triage.reports.tables import NAMES, tables
from worker.cli.commands import command
from worker.cli.options import TIMES
from worker.cli.output import json_text, percent, write_text
from worker.cli.tables import Column, Screen, format_table, print_line, print_text
from worker.services import open_services

_COUNT_COLUMNS: tuple[Column | str, ...] = (
    "messages",
    Outcome.PASS.value,
    Outcome.RETAKE.value,
    *(Column(name, 1) for name in (Outcome.UNCERTAIN.value, Outcome.NOT_ASSESSABLE.value)),
    "pending",
    "retake rate",
)


@command()
@click.option(
    "--since",
    type=TIMES,
    help="Messages received at or after this time (UTC). [default: 30 days before --until, or before today]",
)
@click.option("--until", type=TIMES, help="Messages received before this time (UTC).")
@click.option("--by", type=click.Choice([d.value for d in Dimension]), multiple=True, help="Group by this; repeatable.")
@click.option(
    "--answer-days",
    type=click.IntRange(1, MAX_ANSWER_DAYS),
    default=ANSWER_DAYS,
    show_default=True,
    help="Days to answer.",
)
@click.option("--compare-to", metavar="PERIOD", help="`previous`, or SINCE..UNTIL: key figures side by side.")
@click.option("--show", type=click.Choice([*NAMES, "all"]), multiple=True, help="Show this table; repeatable.")
@click.option(
    "--format", "fmt", type=click.Choice(["table", "json", "csv", "html"]), default="table", show_default=True
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def report(
    *,
    since: datetime | None,
    until: datetime | None,
    by: tuple[str, ...],
    answer_days: int,
    compare_to: str | None,
    show: tuple[str, ...],
    fmt: str,
    output: Path | None,
) -> None:
    """Report messages by outcome, the retake rate, reasons, times, and what became of retake requests.

    Without --show, the table and CSV hold the messages. JSON and HTML always hold everything.
    """
    from triage.reports.summary import report as report_period  # deferred: imports SQLAlchemy

    period = period_of_report(since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC))
    other = compared_period(compare_to, period) if compare_to else None
    with open_services() as services:
        summary = report_period(
            services.sessions, period, [Dimension(name) for name in by], answer_days=answer_days, compared_to=other
        )
    chosen = ("overview",) if compare_to and not show and fmt == "table" else show
    screen = Screen() if output is not None else Screen.of_stdout()
    text = _shown(summary, chosen, fmt, screen)
    if output is not None:
        write_text(output, text)
        print_line(f"report: {output} ({fmt}, {_period_text(summary)})")
    else:
        print_text(text)


def _shown(summary: dict[str, Any], names: tuple[str, ...], fmt: str, screen: Screen) -> str:
    if not names or fmt in {"json", "html"}:
        return to_table(summary, screen) if fmt == "table" else _RENDERERS[fmt](summary)
    chosen = [table for table in tables(summary) if table.name in names or "all" in names]
    if fmt == "table":
        return _sentence(_period_text(summary), screen) + "".join(_shown_table(each, screen) for each in chosen)
    if len(chosen) > 1:
        raise click.UsageError("CSV holds one table: give one --show")
    return render_csv_table(chosen[0])


def _shown_table(table: ReportTable, screen: Screen) -> str:
    columns = [name for name, _ in table.columns]
    rows = [[text_of(kind, value) for (_, kind), value in zip(table.columns, row, strict=True)] for row in table.rows]
    return "\n" + _sentence(table.title, screen) + format_table(columns, rows, screen)


def to_table(summary: dict[str, Any], screen: Screen | None = None) -> str:
    """The summary as tables and sentences for people.

    Args:
        summary: what `triage.reports.summary.summarise` returns.
        screen: the terminal; without one, nothing is wrapped or left out.
    """
    screen = screen or Screen()
    return "\n".join(
        part
        for part in (
            _sentence(_period_text(summary), screen),
            _messages_table(summary, screen),
            _groups_table(summary, screen),
            _scores_table(summary, screen),
            "".join(_sentence(text, screen) for text in _closing_sentences(summary)),
        )
        if part
    )


def _sentence(text: str, screen: Screen) -> str:
    return "".join(f"{line}\n" for line in screen.lines(text))


def _period_text(summary: dict[str, Any]) -> str:
    ends = [
        f"{word} {datetime.fromisoformat(summary[end]):%Y-%m-%d %H:%M} UTC"
        for word, end in (("from", "since"), ("before", "until"))
        if summary[end]
    ]
    return f"messages received {', '.join(ends) or 'at any time'}"


def _messages_table(summary: dict[str, Any], screen: Screen) -> str:
    messages = summary["messages"]
    row = (*(messages[name] for name in COUNTS), percent(messages["retake_rate"]))
    return format_table(_COUNT_COLUMNS, [row], screen)


def _groups_table(summary: dict[str, Any], screen: Screen) -> str:
    if not summary["groups"]:
        return ""
    keys = summary["by"]
    rows = [
        (
            *(NO_MODEL if group[key] is None else group[key] for key in keys),
            *(group[name] for name in COUNTS),
            percent(group["retake_rate"]),
        )
        for group in summary["groups"]
    ]
    caption = _sentence(f"messages by {' and '.join(keys)}", screen)
    no_model = any(group.get(Dimension.MODEL, "") is None for group in summary["groups"])
    note = _sentence(ABOUT_NO_MODEL, screen) if no_model else ""
    return caption + format_table((*keys, *_COUNT_COLUMNS), rows, screen) + note


def _scores_table(summary: dict[str, Any], screen: Screen) -> str:
    rows = [
        (
            scores["model"],
            scores["n"],
            f"{scores['mean']:.3f}",
            "-" if scores["threshold"] is None else f"{scores['threshold']:.3f}",
            percent(scores["acceptable"] / scores["n"]),
            "".join(_bar(count, max(scores["histogram"])) for count in scores["histogram"]),
        )
        for scores in summary["scores"]
    ]
    columns: tuple[Column | str, ...] = (
        "model",
        "photos",
        "mean score",
        "threshold",
        "acceptable",
        Column("0 to 1", 1),
    )
    if not rows:
        return ""
    return _sentence("photos scored in this period, by model", screen) + format_table(columns, rows, screen)


def _closing_sentences(summary: dict[str, Any]) -> Iterator[str]:
    from triage.reports.drift import describe as describe_drift  # deferred: imports SQLAlchemy

    for shadow in summary["shadows"]:
        yield (
            f"shadow model {shadow['model']} disagrees on {percent(shadow['disagreement'])} of {shadow['n']} photos "
            f"(good to bad {shadow['good_to_bad']}, bad to good {shadow['bad_to_good']})"
        )
    requests = ", ".join(f"{name} {count}" for name, count in summary["retake_requests"].items())
    yield f"retake requests: {requests}"
    known = {figure.name: figure for figure in figures(summary)}
    for name in ("requests answered", "usable after request", "needless requests", "decided by people"):
        figure = known[name]
        interval = f" ({text_of(Kind.INTERVAL, figure.interval)})" if figure.interval else ""
        yield f"{name}: {text_of(figure.kind, figure.value)}{interval}"
    yield f"drift: {describe_drift(summary['drift'])}"
    if summary["errors"]:
        yield "photos not assessable: " + ", ".join(f"{code} {count}" for code, count in summary["errors"].items())
    if summary["reasons"]:
        reasons = (f"{kind.replace('_', ' ')} {count}" for kind, count in summary["reasons"].items())
        yield "photos that fail, by their likeliest reason: " + ", ".join(reasons)
    if summary["oldest_pending_seconds"] is not None:
        yield f"oldest pending message: {summary['oldest_pending_seconds']:.0f} s"
    archived = summary["archived"]
    if archived["messages"]:
        yield f"archived messages, counted: {archived['messages']}"
    if archived["lacks"]:
        yield f"without archived messages: {', '.join(archived['lacks']).replace('_', ' ')}"
    if archived["days_left_out"]:
        days = ", ".join(archived["days_left_out"])
        yield f"not counted: archived messages of {days}, because the period starts or ends within the day"


def _json(summary: dict[str, Any]) -> str:
    from worker.documents.reports import ReportDocument  # deferred: imports pydantic

    return json_text(ReportDocument.model_validate(summary).json_types())


def _html(summary: dict[str, Any]) -> str:
    from triage.reports.html import render_html  # deferred: imports Jinja

    return render_html(summary)


def _bar(count: int, largest: int) -> str:
    return " ▁▂▃▄▅▆▇█"[-(-8 * count // largest)] if largest else " "


_RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "json": _json,
    "csv": render_csv,
    "html": _html,
}
