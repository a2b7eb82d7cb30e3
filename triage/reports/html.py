"""The report as one HTML page without scripts or external resources, so that it can be mailed and opened offline."""

from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from triage.domain.reporting import ABOUT_NO_MODEL, NO_MODEL
from triage.domain.states import Outcome
from triage.domain.text import printable_value

_ENVIRONMENT = Environment(
    loader=PackageLoader("triage.reports"),
    autoescape=True,
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_html(summary: dict[str, Any]) -> str:
    """Renders what `triage.reports.summary.summarise` returns."""
    template = _ENVIRONMENT.get_template("report.html.j2")
    return template.render(
        summary=summary,
        no_model=NO_MODEL,
        about_no_model=ABOUT_NO_MODEL,
        outcomes=[outcome.value for outcome in Outcome],
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
