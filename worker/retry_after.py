"""The header `Retry-After` of HTTP."""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


def delay_of(retry_after: str | None) -> timedelta | None:
    """The delay that a header `Retry-After` asks for, in seconds or as a date; None if it is missing or malformed."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return timedelta(seconds=min(int(retry_after[:9]), 10**6))
    try:
        moment = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        return None
    return max(timedelta(0), moment - datetime.now(UTC))
