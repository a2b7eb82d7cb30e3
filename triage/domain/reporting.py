"""The terms of a report: its period and its dimensions."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from triage.domain.messages import CHECKED
from triage.errors import UsageError


@dataclass(frozen=True, slots=True)
class Period:
    """A period of receipt: from `since`, inclusive, to `until`, exclusive. None leaves that end open.

    Both times have a zone.
    """

    __pydantic_config__: ClassVar = CHECKED
    since: datetime | None = None
    until: datetime | None = None

    def check(self) -> None:
        """
        Raises:
            UsageError: a time has no zone.
        """
        if any(moment is not None and moment.tzinfo is None for moment in (self.since, self.until)):
            raise UsageError("invalid period: give times with a zone")


ANSWER_DAYS: Final = 14
"""Days within which a message counts as the answer to a retake request, by default."""

MAX_ANSWER_DAYS: Final = 365

_DEFAULT_SPAN: Final = timedelta(days=30)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def period_of_report(since: datetime | None, until: datetime | None) -> Period:
    """The period of a report: 30 days by default, because a report over years takes seconds of database time.

    Args:
        since: by default 30 days before `until`, or before today.
        until: by default open.

    Raises:
        UsageError: `since` is not before `until`, or one of them lies outside of the calendar in UTC.
    """
    try:
        since, until = since and since.astimezone(UTC), until and until.astimezone(UTC)
    except OverflowError:
        raise UsageError("a time lies outside of the years 1 to 9999 in UTC: correct it") from None
    if since and until and since >= until:
        raise UsageError("since is not before until: correct one of them")
    if since:
        return Period(since, until)
    midnight = (until or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0)
    return Period(midnight - min(_DEFAULT_SPAN, midnight - _EARLIEST), until)


def compared_period(text: str, period: Period) -> Period:
    """Reads the period that a report is compared to.

    Args:
        text: `previous`, for the period of the same length before, or `SINCE..UNTIL` in ISO 8601, UTC without a zone.
        period: of the report, with a beginning.

    Raises:
        UsageError: the text is malformed, or `since` is not before `until`.
    """
    if text == "previous":
        since = period.since or _EARLIEST
        return period_of_report(since - min((period.until or datetime.now(UTC)) - since, since - _EARLIEST), since)
    try:
        since, until = (datetime.fromisoformat(end) for end in text.split("..", maxsplit=1))
    except ValueError:
        raise UsageError("invalid period: use `previous` or SINCE..UNTIL, such as 2026-01-01..2026-02-01") from None
    return period_of_report(*(end if end.tzinfo else end.replace(tzinfo=UTC) for end in (since, until)))


NO_MODEL: Final = "no model"
"""What tables call the model of messages that no model decided."""

ABOUT_NO_MODEL: Final = (
    f"{NO_MODEL}: messages that are pending, that a person decided, or that have no photo that a model could score"
)


class Dimension(StrEnum):
    """A dimension of a report. The model of a message is that of its current decision, or None."""

    DAY = "day"
    SOURCE = "source"
    ROLE = "role"
    LOCALE = "locale"
    FITZPATRICK = "fitzpatrick"
    MODEL = "model"
