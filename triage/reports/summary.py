"""The report of a period: outcomes, trend, reasons, times, people, scores, what became of requests, and the backlog."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

from pydantic import PositiveInt
from sqlalchemy.orm import Session

from triage.domain.card import label_of, threshold_of
from triage.domain.follow_up import Durations
from triage.domain.reporting import ANSWER_DAYS, MAX_ANSWER_DAYS, Dimension, Period
from triage.domain.states import Outcome
from triage.errors import UsageError
from triage.reports.drift import drift_by
from triage.reports.fates import outcomes
from triage.reports.needless import needless
from triage.statistics.proportions import Share
from triage.storage import archived_counts, report_queries, report_scores, request_fates
from triage.storage.archived_counts import N_BINS
from triage.storage.at_once import CONNECTIONS, read_at_once
from triage.storage.database import Sessions
from triage.storage.report_queries import ReasonOverrides
from triage.storage.report_scores import ModelScores, ShadowComparison
from triage.storage.use_case import use_case

SPLITS: Final = (Dimension.SOURCE, Dimension.ROLE, Dimension.LOCALE, Dimension.FITZPATRICK)
"""The dimensions by which every report splits the outcomes."""

_COUNTS: Final = ("total", *(outcome.value for outcome in Outcome), "pending")
_DAY: Final = timedelta(days=1)


@use_case
def report(
    sessions: Sessions,
    period: Period,
    by: Sequence[Dimension] = (),
    *,
    answer_days: int = ANSWER_DAYS,
    compared_to: Period | None = None,
    at_once: PositiveInt = CONNECTIONS,
) -> dict[str, Any]:
    """Returns the report of a period, as `summarise` does, with several queries at a time.

    Args:
        sessions: of any role.
        period: of the receipt of messages.
        by: dimensions of the groups.
        answer_days: days within which a message counts as the answer to a request, 1 to 365.
        compared_to: another period, whose report is added as `compared_to`.
        at_once: how many queries run at a time, each on one core of the database.

    Raises:
        UsageError: a time of a period has no zone, or `answer_days` is out of range.
    """
    periods = [period, *([compared_to] if compared_to else [])]
    for each in periods:
        each.check()
    if not 1 <= answer_days <= MAX_ANSWER_DAYS:
        raise UsageError(f"invalid answer_days: use 1 to {MAX_ANSWER_DAYS}")
    by = tuple(dict.fromkeys(by))  # a dimension named twice groups once
    queries = [_queries(each, by, answer_days) for each in periods]
    found = iter(read_at_once(sessions, [query for each in queries for query in each.values()], at_once=at_once))
    summary, *others = [
        _summary(period, by, answer_days, {name: next(found) for name in each})
        for period, each in zip(periods, queries, strict=True)
    ]
    return {**summary, "compared_to": others[0]} if others else summary


@use_case
def compare_models(sessions: Sessions, period: Period) -> dict[str, Any]:
    """Returns `{scores, shadows}` of a report: the scores of each model, and shadow models against those that decided.

    Args:
        sessions: of any role.
        period: of the creation of verdicts.

    Raises:
        UsageError: a time of the period has no zone.
    """
    period.check()
    with sessions() as session:
        return _models(session, period)


def summarise(
    session: Session, period: Period, by: Sequence[Dimension] = (), *, answer_days: int = ANSWER_DAYS
) -> dict[str, Any]:
    """Returns the report of a period as JSON types.

    Args:
        session: of the worker role or the report role.
        period: of the receipt of messages; for requests and verdicts, of their creation.
        by: dimensions of the groups.
        answer_days: days within which a message counts as the answer to a request.

    Returns:
        `{since, until, messages, trend, outcomes, photos, reasons, reasons_by_source, errors, times, hours, people,
        retention, retake_requests, retake_outcomes, needless, overrides, scores, shadows, backlog,
        oldest_pending_seconds, archived, drift, by, groups}`.
        `messages` and each group hold `total`, a count for each outcome, `pending`, and `retake_rate` with its Wilson
        interval: the share of retakes among decided messages, or None if no message is decided. All numbers include
        archived threads, except `times` and `retake_outcomes` (named in `archived.lacks` if there are such threads) and
        those of the days `archived.days_left_out`, which lie in the period in part: archived counts are daily. `drift`
        is that of the last week that is complete at the end of the period, as `triage.reports.drift.find_drift`.
    """
    by = tuple(dict.fromkeys(by))  # a dimension named twice groups once
    queries = _queries(period, by, answer_days)
    return _summary(period, by, answer_days, {name: query(session) for name, query in queries.items()})


def _queries(period: Period, by: Sequence[Dimension], answer_days: int) -> dict[str, Callable[[Session], Any]]:
    """What a report reads, by name, the slowest first."""
    groupings = [(), (Dimension.DAY,), *((each,) for each in SPLITS), by]
    return {
        "requests": partial(request_fates.follow_requests, period=period, within_time=answer_days * _DAY),
        "shadows": partial(report_scores.compare_shadows, period=period),
        "reasons": partial(report_scores.count_reasons, period=period),
        "messages": partial(report_queries.count_messages, period=period, groupings=groupings),
        "photos": partial(report_queries.count_photos, period=period),
        "scores": partial(report_scores.scores_by_model, period=period),
        "to_decision": partial(report_queries.times_to_decision, period=period),
        "people": partial(report_queries.count_decided_by_people, period=period),
        "to_request": partial(report_queries.times_to_request, period=period),
        "reviews": partial(request_fates.count_reviews, period=period),
        "drift": partial(drift_by, now=_end(period)),
        "hours": partial(report_queries.count_by_hour, period=period),
        "retake_requests": partial(report_queries.count_retake_requests, period=period),
        "photos_purged": partial(report_queries.count_purged_photos, period=period),
        "messages_forgotten": partial(report_queries.count_forgotten_messages, period=period),
        "archived": partial(archived_counts.count_messages, period=period),
        "days_left_out": partial(archived_counts.days_left_out, period=period),
        "undecided": report_queries.count_undecided,
        "unsent": report_queries.count_unsent,
        "oldest_pending": report_queries.oldest_pending_seconds,
    }


def _summary(period: Period, by: Sequence[Dimension], answer_days: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """The report from the results of its queries."""
    [messages], days, *splits, groups = ([_with_rate(row) for row in rows] for rows in found["messages"])
    (photos, errors), reasons, people = found["photos"], found["reasons"], found["people"]
    (to_request, to_sent), (now, requests) = found["to_request"], found["requests"]
    return {
        "since": period.since.isoformat() if period.since else None,
        "until": period.until.isoformat() if period.until else None,
        "messages": messages,
        "trend": _trend(days),
        "outcomes": {each.value: rows for each, rows in zip(SPLITS, splits, strict=True)},
        "photos": photos,
        "reasons": _by_reason((each.reason, each.n) for each in reasons),
        "reasons_by_source": [asdict(each) for each in reasons],
        "errors": errors,
        "times": {
            "to_decision": _durations(found["to_decision"]),
            "to_request": _durations(to_request),
            "to_sent": _durations(to_sent),
        },
        "hours": found["hours"],
        "people": _people(people),
        "retention": {name: found[name] for name in ("photos_purged", "messages_forgotten")},
        "retake_requests": found["retake_requests"],
        "retake_outcomes": outcomes(requests, now=now, days=answer_days),
        "needless": needless(found["reviews"]),
        "overrides": sum(each.by_people for each in people),
        "scores": [_scores(each) for each in found["scores"]],
        "shadows": [_shadow(each) for each in found["shadows"]],
        "backlog": {
            "messages_undecided": found["undecided"],
            "requests_unsent": found["unsent"],
            "for_staff": messages[Outcome.UNCERTAIN] + messages[Outcome.NOT_ASSESSABLE],
            "oldest_pending_seconds": found["oldest_pending"],
        },
        "oldest_pending_seconds": found["oldest_pending"],
        "archived": {
            "messages": found["archived"],
            "days_left_out": [day.isoformat() for day in found["days_left_out"]],
            "lacks": ["times", "retake_outcomes"] if found["archived"] else [],
        },
        "drift": found["drift"],
        "by": [dimension.value for dimension in by],
        "groups": groups if by else [],
    }


def _end(period: Period) -> datetime:
    now = datetime.now(UTC)
    return min(period.until or now, now)


def _with_rate(row: dict[str, Any]) -> dict[str, Any]:
    rate = Share(row[Outcome.RETAKE], row["total"] - row["pending"])
    keys = {key: None if value is None else str(value) for key, value in row.items() if key not in _COUNTS}
    return {**row, **keys, "retake_rate": rate.value, "interval": rate.interval}


def _trend(days: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The days from the first to the last with messages, and their weeks, which begin on Mondays."""
    counts = {date.fromisoformat(row["day"]): row for row in days}
    weeks: dict[date, dict[str, Any]] = {}
    filled = []
    day = min(counts, default=date.max)
    while day <= max(counts, default=date.min):
        row = counts.get(day) or _with_rate({"day": day, **dict.fromkeys(_COUNTS, 0)})
        filled.append(row)
        monday = day - day.weekday() * _DAY
        week = weeks.setdefault(monday, {"week": monday, **dict.fromkeys(_COUNTS, 0)})
        week |= {name: week[name] + row[name] for name in _COUNTS}
        day += _DAY
    return {"days": filled, "weeks": [_with_rate(week) for week in weeks.values()]}


def _by_reason(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    reasons: dict[str, int] = {}
    for reason, n in counts:
        reasons[reason] = reasons.get(reason, 0) + n
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def _durations(durations: Durations | None) -> dict[str, Any] | None:
    return asdict(durations) if durations else None


def _people(reasons: Sequence[ReasonOverrides]) -> dict[str, Any]:
    decided = sum(each.decisions for each in reasons)
    all_ = Share(sum(each.by_people for each in reasons), decided)
    confirmed = sum(each.confirmed for each in reasons)
    rows = []
    for each in reasons:
        changed = Share(each.by_people - each.confirmed, each.decisions)
        counts = {"changed": changed.k, "confirmed": each.confirmed}
        rows.append(asdict(each) | counts | {"override_rate": changed.value, "interval": changed.interval})
    return {
        "decided": decided,
        "by_people": all_.k,
        "changed": all_.k - confirmed,
        "confirmed": confirmed,
        "share": all_.value,
        "interval": all_.interval,
        "by_reason": rows,
    }


def _models(session: Session, period: Period) -> dict[str, Any]:
    return {
        "scores": [_scores(each) for each in report_scores.scores_by_model(session, period)],
        "shadows": [_shadow(each) for each in report_scores.compare_shadows(session, period)],
    }


def _scores(scores: ModelScores) -> dict[str, Any]:
    n = sum(each.n for each in scores.bins)
    by_bin = {each.number: each.n for each in scores.bins}
    return {
        "model": label_of(scores.card),
        "weights_sha256": scores.weights_sha256,
        "threshold": threshold_of(scores.card),
        "n": n,
        "acceptable": sum(each.acceptable for each in scores.bins),
        "mean": sum(each.total for each in scores.bins) / n,
        "histogram": [by_bin.get(number, 0) for number in range(1, N_BINS + 1)],
    }


def _shadow(comparison: ShadowComparison) -> dict[str, Any]:
    return {
        "model": label_of(comparison.card),
        "weights_sha256": comparison.weights_sha256,
        "n": comparison.n,
        "good_to_bad": comparison.good_to_bad,
        "bad_to_good": comparison.bad_to_good,
        "disagreement": (comparison.good_to_bad + comparison.bad_to_good) / comparison.n,
        "mean_score_difference": comparison.mean_difference,
    }
