"""What became of retake requests: the fate of each, shares, and the time to a usable photo."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from statistics import quantiles
from typing import Any, Final

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
    keys: dict[str, Callable[[RequestRow], str | None]] = {
        "source": lambda request: request.source,
        "reason": lambda request: request.reason,
        "locale": lambda request: request.locale,
        "catalogue_version": lambda request: request.catalogue_version,
    }
    return {
        "answer_days": days,
        "requests": len(requests),
        "sent": sum(request.is_sent for request in requests),
        **_counts(followed, now - within),
        "time_to_answer": _durations([at - request.asked_at for request, _ in asked if (at := _first_answer(request))]),
        "curve": _curve(asked, now=now, days=days),
        "by": {name: _groups(followed, key, now - within) for name, key in keys.items()},
    }


def _groups(
    followed: Sequence[tuple[RequestRow, Fate]], key: Callable[[RequestRow], str | None], asked_before: datetime
) -> list[dict[str, Any]]:
    groups: dict[str | None, list[tuple[RequestRow, Fate]]] = {}
    for each in followed:
        groups.setdefault(key(each[0]), []).append(each)
    largest_first = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0] or ""))
    return [
        {"value": value, "requests": len(members), **_counts(members, asked_before)} for value, members in largest_first
    ]


def _counts(followed: Iterable[tuple[RequestRow, Fate]], asked_before: datetime) -> dict[str, Any]:
    fates = Counter[Fate]()
    complete = answered = usable = 0
    for request, fate in followed:
        fates[fate] += 1
        if fate is not Fate.WITHDRAWN and request.asked_at <= asked_before:
            complete += 1
            answered += _first_answer(request) is not None
            usable += fate is Fate.USABLE
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
