"""Limits of intake and of retries, filled in from the settings."""

from dataclasses import dataclass
from datetime import timedelta


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
