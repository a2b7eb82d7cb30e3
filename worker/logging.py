"""Structured logs on stderr: constant event names, fields on an allow-list, no patient data.

Messages of other libraries are logged as their constant template without arguments, because an argument may be a file
name or a row. Exceptions are logged as their type and location without their text.
"""

import logging
import sys
from typing import Any, Final, TextIO

from triage.errors import where

# structlog.dev imports rich.traceback wherever rich is installed: 40 ms at every start, for tracebacks that these logs
# never show. None in sys.modules makes that import fail, as if rich were not installed.
_HIDE_RICH: Final = "rich" not in sys.modules
if _HIDE_RICH:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402  # after rich is hidden
from structlog.typing import EventDict, WrappedLogger  # noqa: E402  # likewise

if _HIDE_RICH:
    del sys.modules["rich"]

ALLOWED_FIELDS: Final = frozenset(
    {
        "action",
        "attempts",
        "batches",
        "bytes",
        "checks",
        "decided",
        "device",
        "due",
        "duration_ms",
        "epoch",
        "error_code",
        "error_type",
        "failed",
        "flagged",
        "head",
        "keys",
        "kind",
        "message_id",
        "model_version",
        "network_ms",
        "not_assessable",
        "parked",
        "photos",
        "pid",
        "position",
        "queue",
        "requeued",
        "run_id",
        "scored",
        "stale",
        "status",
        "strays",
        "task",
        "unfinished",
        "unreadable",
        "where",
    }
)
_STANDARD_FIELDS: Final = frozenset({"event", "level", "timestamp", "logger"})


def configure_logging(level: str = "INFO", fmt: str = "json", stream: TextIO | None = None) -> None:
    """Formats the logs of structlog and of the standard library alike.

    Args:
        level: lowest level of this product's logs; for other libraries it is WARNING.
        fmt: `json`, or `console` for terminals.
        stream: by default stderr.
    """
    renderer = structlog.processors.JSONRenderer() if fmt == "json" else structlog.dev.ConsoleRenderer(colors=False)
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _describe_exception,
        _keep_allowed,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_strip_arguments)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for ours in ("triage", "worker"):
        logging.getLogger(ours).setLevel(level)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # the report of a failed write would include the arguments


def _strip_arguments(record: logging.LogRecord) -> bool:
    """Removes the arguments of other libraries' records. Records of structlog have a mark and pass the allow-list."""
    if not hasattr(record, "_logger"):
        if not isinstance(record.msg, str) or record.name == "py.warnings":
            record.msg = f"{record.name}.logged"
        record.args = None
    return True


def _keep_allowed(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        key: value
        for key, value in event.items()
        if key in ALLOWED_FIELDS or key in _STANDARD_FIELDS or key.startswith("_")
    }


def _describe_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None:
        event["error_type"] = f"{info[0].__module__}.{info[0].__qualname__}"
        event["where"] = where(info[2])
    return event
