"""Tables of a report, and how their values are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

UNKNOWN: Final = "unknown"
"""What tables say where nothing was counted, so that a share does not exist."""


class Kind(StrEnum):
    """How a column is written."""

    TEXT = "text"
    COUNT = "count"
    SHARE = "share"
    INTERVAL = "interval"
    SECONDS = "seconds"
    DAYS = "days"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class ReportTable:
    """A table of a report.

    Attributes:
        name: for `--show`.
        key: of its numbers in the JSON document, as a path for `jq`.
        columns: name and kind.
        rows: a value for each column; None where it is not known.
    """

    name: str
    title: str
    key: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[Any]]


def text_of(kind: Kind, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return "" if kind is Kind.INTERVAL else "not given" if kind is Kind.TEXT else UNKNOWN
    match kind:
        case Kind.SHARE:
            return f"{100 * value:.1f} %"
        case Kind.INTERVAL:
            return f"{100 * value[0]:.1f}–{100 * value[1]:.1f} %"  # noqa: RUF001  # a range
        case Kind.SECONDS:
            return _duration(value)
        case Kind.NUMBER:
            return f"{value:.3g}"
        case Kind.DAYS:
            return f"{value:g}"
        case _:
            return str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
