"""Signs of life of the parts that leave no row behind when all is quiet: beat, and the intake worker.

They are kept in Redis, by its clock, so that any host may ask for them.
"""

from enum import StrEnum
from typing import Any, Final

import structlog
from redis import Redis
from redis.exceptions import RedisError

from triage.errors import ServiceUnavailableError

log = structlog.get_logger(__name__)

_KEPT_SECONDS: Final = 86_400


class Sign(StrEnum):
    """What is done every few seconds, by the part that does it."""

    BEAT = "beat"  # a sweep was published
    INTAKE = "intake"  # a sweep has finished


_MISSING: Final = {
    Sign.BEAT: "beat has published no sweep",
    Sign.INTAKE: "no sweep has finished: are beat and the intake worker up?",
}


class Pulse:
    """Keeps when each sign was last given."""

    def __init__(self, redis: Redis, key_prefix: str, *, interval_seconds: float) -> None:
        """
        Args:
            redis: where the signs are kept.
            key_prefix: of all keys.
            interval_seconds: how often each sign is given.
        """
        self._redis = redis
        self._key_prefix = key_prefix
        self._interval_seconds = interval_seconds

    def give(self, sign: Sign) -> None:
        """Gives a sign. A Redis that is down is logged: the sign is missing then, as it should be."""
        try:
            self._redis.set(self._key(sign), 1, ex=_KEPT_SECONDS)
        except RedisError as error:
            log.warning("redis.unavailable", error_type=type(error).__name__)

    def missing(self, sign: Sign, after_seconds: float) -> str | None:
        """Says in one line which sign was not given for longer than that (and three intervals), or None where it was.

        Raises:
            ServiceUnavailableError: Redis does not answer.
        """
        try:
            left: Any = self._redis.pttl(self._key(sign))
            age = _KEPT_SECONDS - left / 1000 if left > 0 else self._uptime()
        except RedisError as error:
            raise ServiceUnavailableError("Redis does not answer: start it or set TRIAGE_REDIS__URL") from error
        return _MISSING[sign] if age > max(after_seconds, 3 * self._interval_seconds) else None

    def _uptime(self) -> float:
        """A Redis that has just started cannot have seen a sign before."""
        info: Any = self._redis.info("server")
        return float(info["uptime_in_seconds"])

    def _key(self, sign: Sign) -> str:
        return f"{self._key_prefix}pulse:{sign.value}"
