"""The report: messages by outcome, retake rate, scores by model and pending work, by day, source, role and model."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from triage.domain.card import label_of
from triage.domain.reporting import Dimension, Period
from triage.errors import UsageError
from triage.storage import archived_counts, report_queries
from triage.storage.archived_counts import N_BINS
from triage.storage.database import Sessions
from triage.storage.report_queries import ModelScores, ShadowComparison
from triage.storage.use_case import use_case


@use_case
def report(sessions: Sessions, period: Period, by: Sequence[Dimension] = ()) -> dict[str, Any]:
    """Returns the report of a period, as `summarise` does, from a new session.

    Raises:
        UsageError: a time of the period has no zone.
    """
    if any(moment is not None and moment.tzinfo is None for moment in (period.since, period.until)):
        raise UsageError("invalid period: give times with a zone")
    with sessions() as session:
        return summarise(session, period, by)


def summarise(session: Session, period: Period, by: Sequence[Dimension] = ()) -> dict[str, Any]:
    """Returns the report of a period as JSON types.

    Args:
        session: of the worker role or the report role.
        period: of the receipt of messages.
        by: dimensions of the groups.

    Returns:
        `{since, until, messages, photos, reasons, errors, retention, retake_requests, overrides, scores, shadows,
        oldest_pending_seconds, archived, by, groups}`.
        `messages` and each group hold `total`, a count for each outcome, `pending`, and `retake_rate`: the share of
        retakes among decided messages, or None if no message is decided. All numbers include archived threads, except
        those of the days `archived.days_left_out`, which lie in the period in part: archived counts are daily.
    """
    by = tuple(dict.fromkeys(by))  # a dimension named twice groups once
    [messages] = _messages(session, period, ())
    return {
        "since": period.since.isoformat() if period.since else None,
        "until": period.until.isoformat() if period.until else None,
        "messages": messages,
        "photos": report_queries.count_photos(session, period),
        "reasons": report_queries.count_reasons(session, period),
        "errors": report_queries.count_errors(session, period),
        "retention": {
            "photos_purged": report_queries.count_purged_photos(session, period),
            "messages_forgotten": report_queries.count_forgotten_messages(session, period),
        },
        "retake_requests": report_queries.count_retake_requests(session, period),
        "overrides": report_queries.count_overrides(session, period),
        "scores": [_scores(each) for each in report_queries.scores_by_model(session, period)],
        "shadows": [_shadow(each) for each in report_queries.compare_shadows(session, period)],
        "oldest_pending_seconds": report_queries.oldest_pending_seconds(session),
        "archived": {
            "messages": archived_counts.count_messages(session, period),
            "days_left_out": [day.isoformat() for day in archived_counts.days_left_out(session, period)],
        },
        "by": [dimension.value for dimension in by],
        "groups": _messages(session, period, by) if by else [],
    }


def _messages(session: Session, period: Period, by: Sequence[Dimension]) -> list[dict[str, Any]]:
    rows = report_queries.count_messages(session, period, by)
    for row in rows:
        row |= {key: str(row[key]) if row[key] is not None else None for key in [dimension.value for dimension in by]}
        decided = row["total"] - row["pending"]
        row["retake_rate"] = row["retake"] / decided if decided else None
    return rows


def _scores(scores: ModelScores) -> dict[str, Any]:
    n = sum(each.n for each in scores.bins)
    by_bin = {each.number: each.n for each in scores.bins}
    return {
        "model": label_of(scores.card),
        "weights_sha256": scores.card["weights_sha256"],
        "threshold": scores.card["threshold"],
        "n": n,
        "acceptable": sum(each.acceptable for each in scores.bins),
        "mean": sum(each.total for each in scores.bins) / n,
        "histogram": [by_bin.get(number, 0) for number in range(1, N_BINS + 1)],
    }


def _shadow(comparison: ShadowComparison) -> dict[str, Any]:
    return {
        "model": label_of(comparison.card),
        "weights_sha256": comparison.card["weights_sha256"],
        "n": comparison.n,
        "good_to_bad": comparison.good_to_bad,
        "bad_to_good": comparison.bad_to_good,
        "disagreement": (comparison.good_to_bad + comparison.bad_to_good) / comparison.n,
        "mean_score_difference": comparison.mean_difference,
    }
