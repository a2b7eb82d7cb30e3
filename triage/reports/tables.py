"""The report as tables: the same rows for the terminal, CSV and HTML, each with the key of its numbers in the JSON."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from triage.domain.follow_up import Fate
from triage.domain.states import Outcome
from triage.reports.cells import Kind, ReportTable, text_of
from triage.reports.figures import overview

_OUTCOMES: Final = tuple(outcome.value for outcome in Outcome)
_COUNTS: Final = tuple((name.replace("_", " "), Kind.COUNT) for name in ("messages", *_OUTCOMES, "pending"))
_RATE: Final = (("retake rate", Kind.SHARE), ("interval", Kind.INTERVAL))
_FATES: Final = tuple((fate.value.replace("_", " "), Kind.COUNT) for fate in Fate)
_SPLIT_TITLES: Final = {
    "source": ("sources", "source"),
    "role": ("roles", "role"),
    "locale": ("locales", "language"),
    "fitzpatrick": ("skin-types", "skin type"),
    "reason": ("reasons", "reason"),
    "catalogue_version": ("texts", "version of the texts"),
}


def tables(summary: dict[str, Any]) -> list[ReportTable]:
    """All tables of a report."""
    return [
        overview(summary),
        *_messages(summary),
        _reasons(summary),
        ReportTable(
            "errors",
            "Photos that could not be assessed",
            ".errors",
            (("code", Kind.TEXT), ("photos", Kind.COUNT)),
            list(summary["errors"].items()),
        ),
        _times(summary),
        ReportTable(
            "hours",
            "Messages by hour of receipt (UTC)",
            ".hours",
            (("hour", Kind.TEXT), ("messages", Kind.COUNT)),
            [(f"{hour:02}", n) for hour, n in enumerate(summary["hours"])],
        ),
        _backlog(summary),
        _people(summary),
        *_requests(summary),
        *_needless(summary),
        _drift(summary),
    ]


def _messages(summary: dict[str, Any]) -> Iterable[ReportTable]:
    for name, key in (("weeks", "week"), ("days", "day")):
        rows = [_counts(row, row[key]) for row in summary["trend"][name]]
        title = "Messages by week (from Monday)" if name == "weeks" else "Messages by day"
        yield ReportTable(name, title, f".trend.{name}", ((key, Kind.TEXT), *_COUNTS, *_RATE), rows)
    for key, groups in summary["outcomes"].items():
        name, word = _SPLIT_TITLES[key]
        columns = ((word, Kind.TEXT), *_COUNTS, *_RATE)
        rows = [_counts(row, row[key]) for row in groups]
        yield ReportTable(name, f"Messages by {word}", f".outcomes.{key}", columns, rows)


def _counts(row: dict[str, Any], first: Any) -> Sequence[Any]:
    return (first, row["total"], *(row[name] for name in (*_OUTCOMES, "pending")), row["retake_rate"], row["interval"])


def _reasons(summary: dict[str, Any]) -> ReportTable:
    """One row for each reason, a column for each source and one for all."""
    sources = list(dict.fromkeys(each["source"] for each in summary["reasons_by_source"]))
    counts = {(each["source"], each["reason"]): each["n"] for each in summary["reasons_by_source"]}
    total = sum(summary["reasons"].values())
    rows = [
        (reason.replace("_", " "), n, n / total, *(counts.get((source, reason), 0) for source in sources))
        for reason, n in summary["reasons"].items()
    ]
    columns = (
        ("likeliest reason", Kind.TEXT),
        ("photos", Kind.COUNT),
        ("share", Kind.SHARE),
        *((source, Kind.COUNT) for source in sources),
    )
    return ReportTable("reasons", "Why photos fail, by source", ".reasons_by_source", columns, rows)


def _times(summary: dict[str, Any]) -> ReportTable:
    names = {"to_decision": "first decision", "to_request": "retake request", "to_sent": "request sent"}
    rows = [_durations(names[key], durations) for key, durations in summary["times"].items()]
    return ReportTable("times", "Time from receipt to", ".times", _duration_columns("to"), rows)


def _duration_columns(first: str) -> tuple[tuple[str, Kind], ...]:
    return ((first, Kind.TEXT), ("n", Kind.COUNT), *((name, Kind.SECONDS) for name in ("p50", "p95", "p99", "worst")))


def _durations(first: str, durations: dict[str, Any] | None) -> Sequence[Any]:
    return (first, *(durations.values() if durations else (0, None, None, None, None)))


def _backlog(summary: dict[str, Any]) -> ReportTable:
    backlog = summary["backlog"]
    rows = [
        ("messages without a decision, now", str(backlog["messages_undecided"])),
        ("oldest of them waits for", text_of(Kind.SECONDS, backlog["oldest_pending_seconds"] or 0.0)),
        ("requests not sent, now", str(backlog["requests_unsent"])),
        ("messages of the period for staff", str(backlog["for_staff"])),
    ]
    return ReportTable("backlog", "What waits", ".backlog", (("what", Kind.TEXT), ("value", Kind.TEXT)), rows)


def _people(summary: dict[str, Any]) -> ReportTable:
    rows = [
        (
            (row["reason"] or "decided before a model").replace("_", " "),
            *(
                row[name]
                for name in ("decisions", "to_pass", "to_retake", "confirmed", "changed", "override_rate", "interval")
            ),
        )
        for row in summary["people"]["by_reason"]
    ]
    columns = (
        ("reason of the model's decision", Kind.TEXT),
        ("messages", Kind.COUNT),
        ("people: pass", Kind.COUNT),
        ("people: retake", Kind.COUNT),
        ("confirmed", Kind.COUNT),
        ("changed", Kind.COUNT),
        ("changed, share", Kind.SHARE),
        ("interval", Kind.INTERVAL),
    )
    return ReportTable("people", "What people decided", ".people.by_reason", columns, rows)


def _requests(summary: dict[str, Any]) -> Iterable[ReportTable]:
    found = summary["retake_outcomes"]
    columns = (
        ("requests", Kind.COUNT),
        *_FATES,
        ("answered, share", Kind.SHARE),
        ("usable, share", Kind.SHARE),
        ("interval", Kind.INTERVAL),
    )
    title = f"What became of retake requests in {found['answer_days']} days"
    yield ReportTable("requests", title, ".retake_outcomes.fates", columns, [_fates(found)])
    for key, groups in found["by"].items():
        name, word = _SPLIT_TITLES[key]
        rows = [(_label(key, group["value"]), *_fates(group)) for group in groups]
        yield ReportTable(
            f"requests-by-{name}",
            f"What became of retake requests, by {word}",
            f".retake_outcomes.by.{key}",
            ((word, Kind.TEXT), *columns),
            rows,
        )
    yield ReportTable(
        "time-to-answer",
        "Time from request to answer",
        ".retake_outcomes.time_to_answer",
        _duration_columns("to"),
        [_durations("first answer", found["time_to_answer"])],
    )
    yield ReportTable(
        "time-to-usable",
        "Requests with a usable photo, by days since they were sent",
        ".retake_outcomes.curve",
        (("days", Kind.DAYS), ("still waiting", Kind.COUNT), ("usable", Kind.SHARE), ("interval", Kind.INTERVAL)),
        [(row["days"], row["at_risk"], row["share"], row["interval"]) for row in found["curve"]],
    )


def _fates(row: dict[str, Any]) -> Sequence[Any]:
    complete = row["complete"]
    usable = complete["usable"]
    return (row["requests"], *row["fates"].values(), complete["answered"]["share"], usable["share"], usable["interval"])


def _needless(summary: dict[str, Any]) -> Iterable[ReportTable]:
    found = summary["needless"]
    names = ("requests", "reported", "reviewed", "needless", "share", "interval")
    kinds = (*[Kind.COUNT] * 4, Kind.SHARE, Kind.INTERVAL)
    columns = tuple(zip(names, kinds, strict=True))
    values = itemgetter(*names)
    yield ReportTable("needless", "Needless requests", ".needless", columns, [values(found)])
    for key, groups in found["by"].items():
        name, word = _SPLIT_TITLES[key]
        yield ReportTable(
            f"needless-by-{name}",
            f"Needless requests by {word}",
            f".needless.by.{key}",
            ((word, Kind.TEXT), *columns),
            [(_label(key, group["value"]), *values(group)) for group in groups],
        )


def _drift(summary: dict[str, Any]) -> ReportTable:
    """One row for each source, those with drift first, and those that are not compared last."""
    columns = (
        ("source", Kind.TEXT),
        ("threads then", Kind.COUNT),
        ("threads now", Kind.COUNT),
        ("largest PSI", Kind.NUMBER),
        ("smallest p", Kind.NUMBER),
        ("state", Kind.TEXT),
    )
    sources = sorted(summary["drift"]["sources"], key=lambda source: (True, False, None).index(source["drifted"]))
    title = "Photos of a week compared with those at the promotion"
    return ReportTable("drift", title, ".drift.sources", columns, [_drift_of(source) for source in sources])


def _drift_of(source: dict[str, Any]) -> Sequence[Any]:
    features = source["features"]
    drifted = ", ".join(each["feature"] for each in features if each["drifted"])
    state = "too few" if source["drifted"] is None else f"DRIFT: {drifted}" if drifted else "stable"
    sizes = [each["psi"] for each in features]
    chances = [each["adjusted_p_value"] for each in features]
    counts = (source["n_reference"], source["n_current"])
    return (source["source"], *counts, max(sizes, default=None), min(chances, default=None), state)


def _label(key: str, value: str | None) -> str | None:
    return value.replace("_", " ") if value is not None and key == "reason" else value


NAMES: Final = (
    "overview",
    "weeks",
    "days",
    "sources",
    "roles",
    "locales",
    "skin-types",
    "reasons",
    "errors",
    "times",
    "hours",
    "backlog",
    "people",
    "requests",
    "requests-by-sources",
    "requests-by-reasons",
    "requests-by-locales",
    "requests-by-texts",
    "time-to-answer",
    "time-to-usable",
    "needless",
    "needless-by-sources",
    "needless-by-skin-types",
    "needless-by-reasons",
    "drift",
)
"""The names of all tables, in their order."""
