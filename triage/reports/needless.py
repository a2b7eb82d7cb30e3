"""How many retake requests were needless, as far as people have looked at them."""

from collections.abc import Callable, Sequence
from typing import Any

from triage.statistics.proportions import Share
from triage.storage.request_fates import ReviewCount
from triage.storage.review_flags import NEEDLESS, REPORTED, REVIEWED


def needless(counts: Sequence[ReviewCount]) -> dict[str, Any]:
    """Summarises the reviews of requests as JSON types.

    Returns:
        `{requests, reported, known, at_least, reviewed, needless, share, interval, by}`. `reported` requests were
        appealed or overridden, `known` ones are reported or reviewed as needless, and `at_least` is their share of all.
        `share` is the needless share of the reviewed ones: None without reviews, and an estimate for all if these were
        drawn at random. `by` has the same by source, skin type and reason, in the order of their names.
    """
    keys: dict[str, Callable[[ReviewCount], str | None]] = {
        "source": lambda count: count.source,
        "fitzpatrick": lambda count: count.fitzpatrick,
        "reason": lambda count: count.reason,
    }
    return {**_summed(counts), "by": {name: _groups(counts, key) for name, key in keys.items()}}


def _groups(counts: Sequence[ReviewCount], key: Callable[[ReviewCount], str | None]) -> list[dict[str, Any]]:
    groups: dict[str | None, list[ReviewCount]] = {}
    for count in counts:
        groups.setdefault(key(count), []).append(count)
    rows = [{"value": value, **_summed(members)} for value, members in groups.items()]
    return sorted(rows, key=lambda row: (row["value"] is None, row["value"]))


def _summed(counts: Sequence[ReviewCount]) -> dict[str, Any]:
    def having(flags: int) -> int:
        return sum(count.n for count in counts if count.flags & flags)

    requests = sum(count.n for count in counts)
    found = Share(having(NEEDLESS), having(REVIEWED))
    return {
        "requests": requests,
        "reported": having(REPORTED),
        "known": (known := having(REPORTED | NEEDLESS)),
        "at_least": Share(known, requests).value,
        "reviewed": found.n,
        "needless": found.k,
        "share": found.value,
        "interval": found.interval,
    }
