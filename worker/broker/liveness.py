"""Heartbeats of beat and the intake worker, which leave no trace in the database while there is no work.

Heartbeats expire in Redis, by the clock of Redis, so that any host can check them.
"""

from enum import StrEnum
from typing import Any, Final

import structlog
from redis import Redis
from redis.exceptions import RedisError

from triage.errors import ServiceUnavailableError

log = structlog.get_logger(__name__)

_KEPT_SECONDS: Final = 86_400


class Heartbeat(StrEnum):
    """A periodic event, named after the part that records it."""

    BEAT = "beat"  # a sweep was published
    INTAKE = "intake"  # a sweep has finished


_PROBLEMS: Final = {
    Heartbeat.BEAT: "beat has published no sweep",
    Heartbeat.INTAKE: "no sweep has finished: are beat and the intake worker up?",
}


class Liveness:
    """Records heartbeats in Redis and detects missing ones."""

    def __init__(self, redis: Redis, key_prefix: str, *, interval_seconds: float) -> None:
        """
        Args:
            redis: stores the heartbeats.
            key_prefix: prefix of all keys.
            interval_seconds: time between two heartbeats of one part.
        """
        self._redis = redis
        self._key_prefix = key_prefix
        self._interval_seconds = interval_seconds

    def record(self, heartbeat: Heartbeat) -> None:
        """Records a heartbeat. If Redis is unavailable, logs a warning and records nothing."""
        try:
            self._redis.set(self._key(heartbeat), 1, ex=_KEPT_SECONDS)
        except RedisError as error:
            log.warning("redis.unavailable", error_type=type(error).__name__)

    def missing(self, heartbeat: Heartbeat, after_seconds: float) -> str | None:
        """Describes a heartbeat whose last record is older than `after_seconds` and three intervals.

        Returns:
            One line, or None if the heartbeat is recent.

        Raises:
            ServiceUnavailableError: Redis does not respond.
        """
        try:
            left: Any = self._redis.pttl(self._key(heartbeat))
            age = _KEPT_SECONDS - left / 1000 if left > 0 else self._uptime()
        except RedisError as error:
            raise ServiceUnavailableError("Redis does not respond: start it or set TRIAGE_REDIS__URL") from error
        return _PROBLEMS[heartbeat] if age > max(after_seconds, 3 * self._interval_seconds) else None

    def _uptime(self) -> float:
        """The age of a heartbeat that was never recorded: Redis may have restarted and lost earlier records."""
        info: Any = self._redis.info("server")
        return float(info["uptime_in_seconds"])

    def _key(self, heartbeat: Heartbeat) -> str:
        return f"{self._key_prefix}heartbeat:{heartbeat}"
