"""The key figures of a report, also beside those of another period."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triage.reports.cells import UNKNOWN, Kind, ReportTable, text_of


@dataclass(frozen=True, slots=True)
class Figure:
    """A key figure, with its interval if it is a share."""

    name: str
    key: str
    kind: Kind
    value: Any
    interval: Sequence[float] | None = None


def figures(summary: dict[str, Any]) -> list[Figure]:
    """The key figures of a report, in the order in which they are shown and compared."""
    messages, people, needless = summary["messages"], summary["people"], summary["needless"]
    complete, times = summary["retake_outcomes"]["complete"], summary["times"]["to_decision"] or {}
    return [
        Figure("messages", ".messages.total", Kind.COUNT, messages["total"]),
        Figure("retake rate", ".messages.retake_rate", Kind.SHARE, messages["retake_rate"], messages["interval"]),
        Figure("for staff", ".backlog.for_staff", Kind.COUNT, summary["backlog"]["for_staff"]),
        Figure("decided by people", ".people.share", Kind.SHARE, people["share"], people["interval"]),
        Figure("requests answered", ".retake_outcomes.complete.answered", Kind.SHARE, *_share(complete["answered"])),
        Figure("usable after request", ".retake_outcomes.complete.usable", Kind.SHARE, *_share(complete["usable"])),
        Figure("needless requests", ".needless.share", Kind.SHARE, needless["share"], needless["interval"]),
        Figure("time to decision, p95", ".times.to_decision.p95", Kind.SECONDS, times.get("p95")),
    ]


def overview(summary: dict[str, Any]) -> ReportTable:
    """The key figures as a table, with those of the period to which the report is compared."""
    other = summary.get("compared_to")
    if other is None:
        rows: list[Sequence[Any]] = [
            (each.name, text_of(each.kind, each.value), each.interval) for each in figures(summary)
        ]
        columns: tuple[tuple[str, Kind], ...] = (
            ("figure", Kind.TEXT),
            ("value", Kind.TEXT),
            ("interval", Kind.INTERVAL),
        )
        return ReportTable("overview", "Key figures", ".", columns, rows)
    rows = [
        (
            now.name,
            text_of(now.kind, now.value),
            now.interval,
            text_of(then.kind, then.value),
            then.interval,
            _difference(now, then),
        )
        for now, then in zip(figures(summary), figures(other), strict=True)
    ]
    columns = (
        ("figure", Kind.TEXT),
        ("this period", Kind.TEXT),
        ("interval", Kind.INTERVAL),
        ("other period", Kind.TEXT),
        ("its interval", Kind.INTERVAL),
        ("difference", Kind.TEXT),
    )
    return ReportTable("overview", "Key figures, and those of the other period", ".compared_to", columns, rows)


def _difference(now: Figure, then: Figure) -> str:
    if now.value is None or then.value is None:
        return UNKNOWN
    difference = now.value - then.value
    match now.kind:
        case Kind.SHARE:
            return f"{100 * difference:+.1f} points"
        case Kind.SECONDS:
            return f"{difference:+.1f} s"
        case _:
            return f"{difference:+}"


def _share(share: dict[str, Any]) -> tuple[float | None, Sequence[float] | None]:
    return share["share"], share["interval"]
