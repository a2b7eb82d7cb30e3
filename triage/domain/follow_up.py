"""What followed a retake request, and how long things took."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Durations:
    """Times in seconds: their number, percentiles, and the longest."""

    n: int
    p50: float
    p95: float
    p99: float
    worst: float


class Fate(StrEnum):
    """What became of a request.

    `other_reason`: the last answer fails, and not for the reason that the request names. `answered_elsewhere`: a
    message outside of the thread names the request, so its photos are not known. `open`: there is still time to answer,
    or the answer is not decided. `withdrawn`: before a sender may have sent it.
    """

    USABLE = "usable"
    STILL_BAD = "still_bad"
    OTHER_REASON = "other_reason"
    ANSWERED_ELSEWHERE = "answered_elsewhere"
    NO_ANSWER = "no_answer"
    OPEN = "open"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A retake request and what followed it within some days.

    Attributes:
        locale: of the reply, and `catalogue_version` that of its texts; None if the message is forgotten.
        reason: that it names first.
        is_withdrawn: before a sender may have sent it.
        is_sent: recorded as sent.
        asked_at: when it was sent or, if that is not recorded, flagged.
        named_at: when a message that names the request was received; None if none was, or too late.
        answered_at: receipt of the first message with photos in the thread after that.
        usable_at: receipt of the first one that passes.
        is_decided: the last one has a decision.
        reasons: the likeliest reasons of the photos that fail in the last one; empty if one passes.
    """

    source: str
    locale: str | None
    catalogue_version: str | None
    reason: str
    is_withdrawn: bool
    is_sent: bool
    asked_at: datetime
    named_at: datetime | None
    answered_at: datetime | None
    usable_at: datetime | None
    is_decided: bool
    reasons: Sequence[str]
