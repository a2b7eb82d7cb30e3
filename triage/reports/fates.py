"""What became of retake requests: the fate of each, shares, and the time to a usable photo."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, Final, NamedTuple

from triage.domain.follow_up import Durations, Fate, RequestRow
from triage.statistics.proportions import Share
from triage.statistics.survival import time_to_event

CURVE_STEPS_PER_DAY: Final = 4


def fate_of(request: RequestRow, *, now: datetime, within: timedelta) -> Fate:
    """The fate of a request at a time.

    Args:
        request: followed for `within` after it was sent.
        now: up to when it was followed.
        within: the time to answer.
    """
    if request.is_withdrawn:
        return Fate.WITHDRAWN
    if request.usable_at is not None:
        return Fate.USABLE
    if request.answered_at is not None:
        if not request.is_decided:
            return Fate.OPEN
        is_other = bool(request.reasons) and request.reason not in request.reasons
        return Fate.OTHER_REASON if is_other else Fate.STILL_BAD
    if request.named_at is not None:
        return Fate.ANSWERED_ELSEWHERE
    return Fate.OPEN if now < request.asked_at + within else Fate.NO_ANSWER


def outcomes(requests: Sequence[RequestRow], *, now: datetime, days: int) -> dict[str, Any]:
    """Summarises what became of requests as JSON types.

    Returns:
        `{answer_days, requests, sent, fates, complete, time_to_answer, curve, by}`. `complete` counts the requests
        whose time to answer is over, with the shares of answered ones and of those with a usable photo: others would
        bias the shares. `curve` is the share of requests with a usable photo by the days since they were sent, also
        estimated from requests that are still open. `by` has the counts by source, reason, locale and version of the
        catalogue.
    """
    within = timedelta(days=days)
    followed = [(request, fate_of(request, now=now, within=within)) for request in requests]
    asked = [(request, fate) for request, fate in followed if fate is not Fate.WITHDRAWN]
    kinds = Counter(_kind(request, fate, asked_before=now - within) for request, fate in followed)
    return {
        "answer_days": days,
        "requests": len(requests),
        "sent": sum(request.is_sent for request in requests),
        **_counts(kinds.items()),
        "time_to_answer": _durations([at - request.asked_at for request, _ in asked if (at := _first_answer(request))]),
        "curve": _curve(asked, now=now, days=days),
        "by": {name: _groups(kinds, name) for name in ("source", "reason", "locale", "catalogue_version")},
    }


class _Kind(NamedTuple):
    """What a request counts as. There are few kinds, so that counting them in each group takes no time."""

    source: str
    reason: str
    locale: str | None
    catalogue_version: str | None
    fate: Fate
    is_complete: bool
    is_answered: bool


def _kind(request: RequestRow, fate: Fate, *, asked_before: datetime) -> _Kind:
    return _Kind(
        request.source,
        request.reason,
        request.locale,
        request.catalogue_version,
        fate,
        fate is not Fate.WITHDRAWN and request.asked_at <= asked_before,
        request.answered_at is not None or request.named_at is not None,
    )


def _groups(kinds: Mapping[_Kind, int], key: str) -> list[dict[str, Any]]:
    groups: dict[str | None, list[tuple[_Kind, int]]] = {}
    for each in kinds.items():
        groups.setdefault(getattr(each[0], key), []).append(each)
    rows = [{"value": value, "requests": sum(n for _, n in each), **_counts(each)} for value, each in groups.items()]
    return sorted(rows, key=lambda row: (-row["requests"], row["value"] or ""))


def _counts(kinds: Iterable[tuple[_Kind, int]]) -> dict[str, Any]:
    fates = Counter[Fate]()
    complete = answered = usable = 0
    for kind, n in kinds:
        fates[kind.fate] += n
        if kind.is_complete:
            complete += n
            answered += n * kind.is_answered
            usable += n * (kind.fate is Fate.USABLE)
    shares = {"answered": Share(answered, complete), "usable": Share(usable, complete)}
    return {
        "fates": {fate.value: fates[fate] for fate in Fate},
        "complete": {"requests": complete, **{name: share_json(share) for name, share in shares.items()}},
    }


def _first_answer(request: RequestRow) -> datetime | None:
    return min(filter(None, (request.answered_at, request.named_at)), default=None)


def _durations(times: Sequence[timedelta]) -> dict[str, Any] | None:
    if not times:
        return None
    seconds = [time.total_seconds() for time in times]
    cuts = quantiles(seconds * 2 if len(seconds) == 1 else seconds, n=100, method="inclusive")
    return asdict(Durations(len(seconds), cuts[49], cuts[94], cuts[98], max(seconds)))


def _curve(asked: Sequence[tuple[RequestRow, Fate]], *, now: datetime, days: int) -> list[dict[str, Any]]:
    """A request without a usable photo is observed until now, until its time is over, or until it is answered
    elsewhere.
    """
    observed = []
    for request, fate in asked:
        ends = request.named_at if fate is Fate.ANSWERED_ELSEWHERE and request.named_at else now
        end = request.usable_at or min(ends, request.asked_at + timedelta(days=days))
        observed.append(((end - request.asked_at) / timedelta(days=1), request.usable_at is not None))
    at = [step / CURVE_STEPS_PER_DAY for step in range(days * CURVE_STEPS_PER_DAY + 1)]
    return [
        {"days": day, "at_risk": reached.at_risk, "share": reached.share, "interval": reached.interval}
        for day, reached in zip(at, time_to_event(observed, at), strict=True)
    ]


def share_json(share: Share) -> dict[str, Any]:
    """A share as `{n, share, interval}`: its numerator, value and interval; None where nothing is counted."""
    return {"n": share.k, "share": share.value, "interval": share.interval}
