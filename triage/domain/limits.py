"""Limits and their defaults. Settings can override them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

FETCH_SECONDS: Final = 30.0
"""Time limit for fetching a photo from a web server."""

POOL_SIZE: Final = 4
"""Database connections that a process keeps open."""


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Limits of one message.

    Attributes:
        max_attachments: photos of one message.
        max_bytes: bytes of one photo; a larger one is recorded as `too_large` and its bytes are not stored.
    """

    max_attachments: int = 20
    max_bytes: int = 50 * 2**20


@dataclass(frozen=True, slots=True)
class RetryRules:
    """When a photo is parked, and how long a retry waits.

    Attributes:
        max_attempts: failures in decoding or scoring.
        max_lost_leases: leases that expired while a worker held the photo. Higher than `max_attempts`, because a worker
            that was killed from outside counts too.
        backoff: delay before a retry, for each failure, lost lease or storage fault so far.
        max_storage_faults: times that the photo's bytes could not be read. At the longest delay, that is a week.
    """

    max_attempts: int = 3
    max_lost_leases: int = 10
    backoff: timedelta = timedelta(seconds=10)
    max_storage_faults: int = 1000
