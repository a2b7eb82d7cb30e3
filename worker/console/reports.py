"""The report of a period and the drift of the last week, from the functions of `triage report` and `triage drift`."""

from datetime import datetime, timedelta
from typing import Any, Final

from starlette.responses import Response

from triage.domain.reporting import Period, compared_period, period_of_report
from triage.domain.staff import Right
from triage.errors import UsageError
from triage.reports.cells import Kind, ReportTable, text_of
from triage.reports.drift import find_drift
from triage.reports.figures import Figure, figures
from triage.reports.summary import report
from triage.reports.tables import tables
from worker.console.page import Pages, Visit, template
from worker.console.texts import Texts

REPORT_PAGES: Final = Pages()

_REPORT: Final = template("report.html")
_DRIFT: Final = template("drift.html")

_DAY: Final = timedelta(days=1)


@REPORT_PAGES.page("GET", "/reports", right=Right.MANAGE, is_heavy=True)
def show_report(visit: Visit) -> Response:
    """The report of a period, by default of 30 days."""
    query = visit.request.query_params
    period = period_of(visit)
    is_compared = bool(query.get("compare"))
    other = compared_period("previous", period) if is_compared else None
    summary = report(visit.services.long_reads, period, compared_to=other, at_once=1)
    return visit.render(
        _REPORT,
        summary=summary,
        is_compared=is_compared,
        figures=[_figure(visit.texts, each) for each in figures(summary)],
        tables=[_translated(visit.texts, each) for each in tables(summary)],
        **dates_of(visit, period),
    )


@REPORT_PAGES.page("GET", "/drift", right=Right.MANAGE)
def show_drift(visit: Visit) -> Response:
    """Whether recent photos are like those at the promotion of the live model."""
    return visit.render(_DRIFT, found=find_drift(visit.services.long_reads))


def period_of(visit: Visit) -> Period:
    """The period that the address names by days of the clinic, both included; by default the last 30 days.

    Raises:
        UsageError: a day is malformed, or the first one is after the last one.
    """
    zone, query = visit.console.settings.zone, visit.request.query_params
    try:
        first, last = (
            datetime.fromisoformat(text).replace(tzinfo=zone) if (text := query.get(name, "")) else None
            for name in ("since", "until")
        )
        return period_of_report(first, last + _DAY if last else None)
    except (ValueError, OverflowError):
        raise UsageError("invalid day: use the form 2026-01-31, and a first day before the last one") from None


def dates_of(visit: Visit, period: Period) -> dict[str, Any]:
    """The first and the last day of a period in the clinic's zone, for the form."""
    zone = visit.console.settings.zone
    since, until = period.since, period.until
    return {
        "since": f"{since.astimezone(zone):%Y-%m-%d}" if since else "",
        "until": f"{until.astimezone(zone) - timedelta(microseconds=1):%Y-%m-%d}" if until else "",
    }


def _figure(texts: Texts, figure: Figure) -> tuple[str, str, str]:
    """The name of a key figure, its value, and its interval if it has one."""
    interval = text_of(Kind.INTERVAL, figure.interval) if figure.interval else ""
    return texts.word(figure.name), texts.word(text_of(figure.kind, figure.value)), interval


def _translated(texts: Texts, table: ReportTable) -> ReportTable:
    """A table with every value as text, in the language of the page where it has the words."""
    kinds = [kind for _, kind in table.columns]
    return ReportTable(
        table.name,
        texts.title(table.name, table.title),
        table.key,
        [(texts.word(name), kind) for name, kind in table.columns],
        [[texts.word(text_of(kind, value)) for kind, value in zip(kinds, row, strict=True)] for row in table.rows],
    )
