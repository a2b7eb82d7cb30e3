"""Redis as Celery's broker, with a guard at the door: what is no task message of ours never gets into a worker.

Celery and kombu trust what they find in Redis. Of the 43 forged messages of the tests, 17 made a worker end itself.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import structlog
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import Empty
from pydantic import BaseModel, ConfigDict, Field, ValidationError

log = structlog.get_logger(__name__)

_MAX_BODY_CHARACTERS: Final = 2**20
_ALLOWED_COMMANDS: Final = {"ping"}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Headers(_Part):
    """Of Celery's message protocol 2, all that a worker makes use of."""

    task: str
    id: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")  # it becomes part of a key
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    retries: int | None = None
    eta: str | None = None
    expires: str | None = None
    timelimit: list[float | int | None] | None = Field(default=None, max_length=2)
    compression: None = None
    stamps: dict[str, Any] | None = None
    stamped_headers: list[str] | None = None


class _Properties(_Part):
    delivery_tag: str
    delivery_info: dict[str, Any]
    body_encoding: Literal["base64"] | None = None
    correlation_id: str | None = None
    reply_to: str | None = None


class _AnyHeaders(_Part):
    model_config = ConfigDict(extra="allow")

    compression: None = None  # a few kilobytes may be gigabytes once they are unpacked


class _Message(_Part):
    body: str = Field(max_length=_MAX_BODY_CHARACTERS)
    headers: _AnyHeaders
    properties: _Properties
    content_type: str = Field(alias="content-type")
    content_encoding: Literal["utf-8", "binary"] = Field(alias="content-encoding")


class _Task(_Message):
    headers: _Headers  # type: ignore[assignment]  # narrower on purpose


def guard(routes: Mapping[str, str], *, commands: bool = False) -> None:
    """Puts the guard before every connection to a broker that this process makes from now on.

    Args:
        routes: the queue of each task; a task on any other queue is refused.
        commands: also ends the obedience of this process's worker to remote commands other than `ping`.
    """
    _Transport.routes = routes
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "worker.broker.guard:_Transport"
    if commands:
        from celery.worker.control import Panel  # Celery's worker, which no sender and no command needs

        for command in set(Panel.data) - _ALLOWED_COMMANDS:
            del Panel.data[command]


class _Channel(kombu_redis.Channel):
    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (*self.connection_errors, Empty):
            raise
        except Exception as error:  # not even JSON
            _refuse(type(error).__name__)
            return True


class _Transport(kombu_redis.Transport):
    Channel = _Channel
    routes: Mapping[str, str] = {}

    def _deliver(self, message: Any, queue: str) -> None:
        if problem := _problem(message, queue, self.routes):
            _refuse(problem)
            return
        try:
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        except self.connection_errors:
            raise
        except Exception as error:  # what the guard let through must not end the worker either
            _refuse(type(error).__name__)
            self._forget(message["properties"]["delivery_tag"])

    def _forget(self, tag: str) -> None:
        """Frees the place that an unfinished message holds, or its worker would never take another."""
        for channel in self.channels:
            if tag in channel.qos._delivered:
                channel.basic_reject(tag, requeue=False)


def _problem(message: Any, queue: str, routes: Mapping[str, str]) -> str | None:
    """What is wrong with a message, in a word of ours; None if nothing is."""
    is_task = queue in set(routes.values())
    try:
        checked = (_Task if is_task else _Message).model_validate(message)
    except ValidationError:
        return "malformed"
    if isinstance(checked, _Task):
        if routes.get(checked.headers.task) != queue:
            return "unknown_task"
        if checked.content_type == "application/json" and not _is_call(checked.body):
            return "malformed"
    return None


def _is_call(body: str) -> bool:
    """Whether a JSON body holds arguments, keyword arguments and options, as protocol 2 has it."""
    try:
        match json.loads(base64.b64decode(body, validate=True)):
            case [list(), dict(), dict() | None]:
                return True
    except (ValueError, RecursionError):
        return False
    return False


def _refuse(kind: str) -> None:
    log.warning("task.refused", kind=kind)
