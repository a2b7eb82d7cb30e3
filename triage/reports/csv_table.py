"""The report as a CSV table."""

import csv
import io
from typing import Any, Final

from triage.domain.states import Outcome
from triage.domain.text import csv_cell, printable_value

COUNTS: Final = ("total", *(outcome.value for outcome in Outcome), "pending")
"""The counts of messages, in the order of the columns."""


def render_csv(summary: dict[str, Any]) -> str:
    """Renders what `triage.reports.summary.summarise` returns: one row per group, or one row if there are no groups."""
    columns = [*summary["by"], *COUNTS, "retake_rate"]
    rows = summary["groups"] if summary["by"] else [summary["messages"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(printable_value(row[column])) for column in columns] for row in rows)
    return text.getvalue()
