"""Events for what Celery logs and prints in its own words."""

import json
import os
from datetime import UTC, datetime
from logging import LogRecord
from typing import Any, Final

from billiard.util import get_logger  # type: ignore[import-untyped]  # billiard has no type hints

from triage.errors import causes_of
from worker.broker.faults import REDIS_ERRORS, redis_fault

EVENTS: Final = {"redis.unavailable", "task.failed", "child.lost", "part.stopping", "part.waiting"}
"""Names of the events of this module, for the documentation."""

_CONNECTING: Final = ("celery.worker.consumer", "celery.beat", "kombu")
_POOL: Final = "multiprocessing"
_STANDARD_ERROR: Final = 2


def celery_event(record: LogRecord) -> tuple[str, dict[str, Any]] | None:
    """The event and the fields for a record of Celery or kombu; None if it has no event of its own.

    Args:
        record: with its arguments, none of which becomes part of the fields.
    """
    if record.name == "celery.app.trace":
        data = getattr(record, "data", {})
        return "task.failed", {"task": data.get("name")}
    if record.name.startswith(_CONNECTING) and (error := _redis_error(record)):
        return "redis.unavailable", {"error_type": type(error).__name__, "kind": redis_fault(error).kind}
    if "Soft Shutdown" in str(record.msg):
        return "part.waiting", {}
    if record.name == _POOL and "exited" in str(record.msg):
        return "child.lost", {}
    return None


def _redis_error(record: LogRecord) -> BaseException | None:
    """The error of Redis that a record tells of, or that its error was raised from."""
    logged = [record.exc_info[1] if record.exc_info else None, *(record.args or ())]
    causes = (cause for error in logged if isinstance(error, BaseException) for cause in causes_of(error))
    return next((cause for cause in causes if isinstance(cause, REDIS_ERRORS)), None)


def let_pool_log() -> None:
    """Passes on what the pool of child processes logs; by default it prints."""
    get_logger().propagate = True


def say(message: str, *_: object) -> None:
    """Takes the place of Celery's function that prints from a signal handler, where logging could wait for itself."""
    if "shutdown (MainProcess)" in message:
        line = {"event": "part.stopping", "level": "info", "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
        os.write(_STANDARD_ERROR, f"{json.dumps(line)}\n".encode())
