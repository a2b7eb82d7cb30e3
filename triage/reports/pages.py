"""The templates of the HTML pages in this folder."""

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from triage.domain.text import printable_value

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("triage.reports"),
    autoescape=True,
    finalize=printable_value,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
