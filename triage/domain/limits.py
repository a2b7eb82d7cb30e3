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
    """How often a photo is tried, and the delay before each retry: `backoff` times the number of attempts so far."""

    max_attempts: int = 3
    backoff: timedelta = timedelta(seconds=10)
