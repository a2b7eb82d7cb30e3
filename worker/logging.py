"""Structured logs on stderr: constant event names, fields on an allow-list, no patient data.

Messages of other libraries are logged without their text, which may hold a file name or a row: as the event
`library.logged` with the place in the code that logged it. Exceptions are logged as their type and location.
"""

import logging
import re
import sys
from collections.abc import Callable
from functools import partial
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
        "dead",
        "decided",
        "delivered",
        "device",
        "done",
        "dropped",
        "due",
        "duration_ms",
        "epoch",
        "error_code",
        "error_type",
        "failed",
        "flagged",
        "head",
        "ignored",
        "keys",
        "kind",
        "message_id",
        "model_version",
        "network_ms",
        "not_assessable",
        "parked",
        "photos",
        "pid",
        "port",
        "position",
        "postponed",
        "queue",
        "queues",
        "reasons",
        "requeued",
        "run_id",
        "scored",
        "stale",
        "status",
        "strays",
        "target",
        "task",
        "unfinished",
        "unreadable",
        "version",
        "where",
    }
)
FOREIGN_EVENTS: Final = {"library.logged", "warning.raised"}
"""What other libraries log, unless a caller of `configure_logging` names it."""

_WARNING: Final = re.compile(r"\S*?([^\s/]+/[^\s/]+\.py:\d+): (\w+): ")
_FIELDS: Final = "triage_fields"  # of a record of another library
_STANDARD_FIELDS: Final = frozenset({"event", "level", "timestamp", "logger"})


Translation = Callable[[logging.LogRecord], tuple[str, dict[str, Any]] | None]
"""Returns the event and the fields for a record of another library, or None."""


def configure_logging(
    level: str = "INFO", fmt: str = "json", stream: TextIO | None = None, *, translate: Translation = lambda _: None
) -> None:
    """Formats the logs of structlog and of the standard library alike.

    Args:
        level: lowest level of this product's logs; for other libraries it is WARNING.
        fmt: `json`, or `console` for terminals.
        stream: by default stderr.
        translate: names the events of other libraries.
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
    handler.addFilter(partial(_strip, translate))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, _add_fields, *shared],
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


def release() -> str:
    """The version of this product, for the event of a start."""
    from importlib.metadata import version  # deferred: only when a part starts

    return version("skin-photo-triage")


def _strip(translate: Translation, record: logging.LogRecord) -> bool:
    """Replaces the text and the arguments of other libraries' records. Records of structlog have a mark."""
    if not hasattr(record, "_logger"):
        place = f"{'/'.join(record.pathname.rsplit('/', 2)[-2:])}:{record.lineno}"
        if record.name == "py.warnings":
            event, fields = _warning(record.getMessage())
        else:
            event, fields = translate(record) or ("library.logged", {"where": [place]})
        record.msg, record.args, record.__dict__[_FIELDS] = event, None, fields
    return True


def _add_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {**event, **getattr(event["_record"], _FIELDS, {})}


def _warning(text: str) -> tuple[str, dict[str, Any]]:
    """The event of a warning of Python: its class and place, without its text."""
    found = _WARNING.match(text)
    return "warning.raised", {"error_type": found[2], "where": [found[1]]} if found else {}


def _keep_allowed(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        key: value
        for key, value in event.items()
        if (key in ALLOWED_FIELDS and value is not None) or key in _STANDARD_FIELDS or key.startswith("_")
    }


def _describe_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[0] is not None and "error_type" not in event:
        event["error_type"] = f"{info[0].__module__}.{info[0].__qualname__}"
        event["where"] = where(info[2])
    return event
