"""The report as one HTML page without scripts or external resources, so that it can be mailed and opened offline."""

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, Final

from triage.domain.follow_up import Fate
from triage.domain.reporting import ABOUT_NO_MODEL, NO_MODEL
from triage.domain.states import Outcome
from triage.reports import charts
from triage.reports.cells import Kind, ReportTable, text_of
from triage.reports.drift import describe
from triage.reports.fates import CURVE_STEPS_PER_DAY
from triage.reports.figures import figures
from triage.reports.pages import ENVIRONMENT
from triage.reports.tables import tables

_MOST_ROWS: Final = 4
"""Rows of a group that the page shows, the largest, so that it prints on two sheets. The JSON document has all."""

_MOST_WEEKS: Final = 5
_MOST_DAYS: Final = 8


def render_html(summary: dict[str, Any]) -> str:
    """Renders what `triage.reports.summary.report` returns."""
    template = ENVIRONMENT.get_template("report.html.j2")
    other, days = summary.get("compared_to"), summary["retake_outcomes"]["answer_days"]
    return template.render(
        summary=summary,
        other=other,
        figures=figures(summary),
        tables={table.name: table for table in tables(summary)},
        days_of_curve=slice(0, None, CURVE_STEPS_PER_DAY * -(-days // _MOST_DAYS)),
        further_sources=_further_sources(summary),
        charts=charts,
        funnel=_funnel(summary["retake_outcomes"]),
        kinds=Kind,
        text_of=text_of,
        largest=_largest,
        command=_command(summary),
        no_model=NO_MODEL,
        about_no_model=ABOUT_NO_MODEL,
        outcomes=[outcome.value for outcome in Outcome],
        period_text=_period_text,
        drift=describe(summary["drift"]),
        week=_period_text(summary["drift"]["current"]) if summary["drift"]["current"] else None,
        made_at=_moment(datetime.now(UTC)),
    )


def _period_text(ends: dict[str, Any]) -> str:
    """A period for people, such as `from 1 November 2026 to before 29 November 2026 (UTC)`."""
    since, until = (ends[end] and _moment(datetime.fromisoformat(ends[end])) for end in ("since", "until"))
    parts = [f"from {since}"] * bool(since) + [f"before {until}"] * bool(until)
    return " ".join([*parts, "(UTC)"]) if parts else "at any time"


def _moment(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    return f"{utc.day} {utc:%B %Y}" + ("" if utc.time() == time() else f", {utc:%H:%M}")


def _command(summary: dict[str, Any]) -> str:
    """The command whose JSON has all numbers of the page."""
    ends = [f" --{end} {_written(summary[end])}" for end in ("since", "until") if summary[end]]
    days = summary["retake_outcomes"]["answer_days"]
    by = "".join(f" --by {dimension}" for dimension in summary["by"])
    other = summary.get("compared_to")
    has_ends = other is not None and other["since"] and other["until"]
    compared = f" --compare-to {_written(other['since'])}..{_written(other['until'])}" if other and has_ends else ""
    return f"triage report{''.join(ends)} --answer-days {days}{by}{compared} --format json"


def _written(moment: str) -> str:
    """A time in UTC as the command takes it."""
    utc = datetime.fromisoformat(moment).astimezone(UTC)
    return f"{utc:%Y-%m-%d}" if utc.time() == time() else f"{utc:%Y-%m-%dT%H:%M:%S}"


def _funnel(found: dict[str, Any]) -> list[tuple[str, int]]:
    fates = found["fates"]
    asked = found["requests"] - fates[Fate.WITHDRAWN]
    answered = sum(fates[fate] for fate in (Fate.USABLE, Fate.STILL_BAD, Fate.OTHER_REASON, Fate.ANSWERED_ELSEWHERE))
    return [
        ("requested", found["requests"]),
        ("not withdrawn", asked),
        ("answered", answered),
        ("usable", fates[Fate.USABLE]),
    ]


def _further_sources(summary: dict[str, Any]) -> list[str]:
    """The sources whose reasons the page leaves out: all but the largest."""
    largest = sorted(summary["outcomes"]["source"], key=lambda row: -row["total"])[:_MOST_ROWS]
    return [row["source"] for row in summary["outcomes"]["source"] if row not in largest]


def _largest(table: ReportTable) -> Sequence[Sequence[Any]]:
    """The rows of a table that fit on the page: the last weeks, or the largest groups."""
    if table.name == "weeks":
        return table.rows[-_MOST_WEEKS:]
    if table.name == "drift":
        return table.rows[:_MOST_ROWS]
    if len(table.rows) <= _MOST_ROWS or table.name.endswith("skin-types"):
        return table.rows
    return sorted(table.rows, key=lambda row: -row[1])[:_MOST_ROWS]
