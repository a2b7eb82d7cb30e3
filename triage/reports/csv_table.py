"""The report as a CSV table."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

from triage.domain.states import Outcome
from triage.domain.text import csv_cell, printable_value
from triage.reports.cells import Kind, ReportTable

COUNTS: Final = ("total", *(outcome.value for outcome in Outcome), "pending")
"""The counts of messages, in the order of the columns."""


def render_csv(summary: dict[str, Any]) -> str:
    """Renders what `triage.reports.summary.summarise` returns: one row per group, or one row if there are no groups."""
    columns = [*summary["by"], *COUNTS, "retake_rate"]
    rows = summary["groups"] if summary["by"] else [summary["messages"]]
    return _written(columns, ([row[column] for column in columns] for row in rows))


def render_csv_table(table: ReportTable) -> str:
    """Renders one table of a report with plain numbers. An interval becomes two columns."""
    columns: list[str] = []
    for name, kind in table.columns:
        columns += [f"{name}, low", f"{name}, high"] if kind is Kind.INTERVAL else [name]
    return _written(columns, (list(_cells(table, row)) for row in table.rows))


def _cells(table: ReportTable, row: Sequence[Any]) -> Iterable[Any]:
    for (_, kind), value in zip(table.columns, row, strict=True):
        if kind is Kind.INTERVAL:
            yield from value or (None, None)
        else:
            yield value


def _written(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(printable_value(value)) for value in row] for row in rows)
    return text.getvalue()
