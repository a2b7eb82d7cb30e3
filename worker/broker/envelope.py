"""What a worker receives: messages rebuilt from the few fields that a sender may set. All other fields have no effect.

Celery and kombu trust the data in Redis. A header `timelimit` would let a sender kill the process that runs the task,
a delivery tag or a reply address would name keys in Redis, and deeply nested JSON ends the decoder with an error that
neither library expects.
"""

import base64
import json
import re
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from worker.queues import ROUTES

MAX_DEPTH: Final = 32
"""Nesting of lists and objects in a message, and in its body."""

_MAX_BODY_CHARACTERS: Final = 2**20
MAX_BYTES: Final = _MAX_BODY_CHARACTERS + 2**16
"""Size of a message in Redis."""

SIGNED: Final = "application/data"
"""Content type of JSON that Celery's serializer `auth` wraps."""

_TASK_QUEUES: Final = set(ROUTES.values())
_STRING: Final = re.compile(r'"[^"]*"?')
_BRACKET: Final = re.compile(r"[][{}]")
_REPLIES: Final = ".reply.celery.pidbox"  # end of the name of a queue of replies to commands
_NO_CALLBACKS: Final = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]  # becomes part of a key in Redis
_Name = Annotated[str, Field(max_length=255)]


class RejectedMessageError(Exception):
    """A message that no worker may see. Its text is the kind of the log line, never data of the message."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Headers(_Part):
    """The headers of a task message that have an effect."""

    task: _Name
    id: _Id
    ignore_result: bool | None = None


class _Properties(_Part):
    body_encoding: Literal["base64"] | None = None


class _Message(_Part):
    body: str = Field(max_length=_MAX_BODY_CHARACTERS)
    properties: _Properties
    content_type: Literal["application/json", "application/data"] = Field(alias="content-type")
    content_encoding: Literal["utf-8", "binary"] = Field(alias="content-encoding")

    @property
    def is_signed(self) -> bool:
        return self.content_type == SIGNED

    def plain_body(self) -> bytes:
        if self.properties.body_encoding is None:
            return self.body.encode()
        return base64.b64decode(self.body, validate=True)


class _Task(_Message):
    headers: _Headers


class _ReplyHeaders(_Part):
    ticket: _Id


class _Reply(_Message):
    """A worker's answer to a remote control command, which a sender of commands receives."""

    headers: _ReplyHeaders


class _ReplyTo(_Part):
    exchange: Literal["reply.celery.pidbox"]
    routing_key: _Id


class _Ping(_Part):
    """The body of the only remote control command that workers answer."""

    method: Literal["ping"]
    destination: list[_Name] | None = Field(default=None, max_length=1000)
    reply_to: _ReplyTo | None = None
    ticket: _Id | None = None


def decode(data: bytes | str) -> Any:
    """Decodes JSON whose size and depth are limited.

    Raises:
        RejectedMessageError: the data are not JSON, or exceed a limit.
    """
    if len(data) > MAX_BYTES:
        raise RejectedMessageError("too_large")
    try:
        text = data if isinstance(data, str) else data.decode()
        if _is_too_deep(text):  # before decoding, which recurses
            raise RejectedMessageError("too_deep")
        return _DECODER.decode(text)
    except ValueError as error:
        raise RejectedMessageError("malformed") from error


def rebuild(message: Any, queue: str) -> dict[str, Any]:
    """Returns the message to deliver in place of a decoded message from Redis.

    Args:
        message: of Celery's protocol 2.
        queue: where it was; a queue that is not for tasks holds remote control commands, or replies to them.

    Raises:
        RejectedMessageError: `malformed`, `too_deep`, or `unknown_task` for a task that does not belong to the queue.
    """
    try:
        if queue in _TASK_QUEUES:
            return _rebuild_task(_Task.model_validate(message), queue)
        if queue.endswith(_REPLIES):
            return _rebuild_reply(_Reply.model_validate(message), queue)
        return _rebuild_command(_Message.model_validate(message), queue)
    except ValueError as error:  # of pydantic, base64 or a surrogate
        raise RejectedMessageError("malformed") from error


def _rebuild_task(task: _Task, queue: str) -> dict[str, Any]:
    if ROUTES.get(task.headers.task) != queue:  # type: ignore[call-overload]  # a StrEnum equals its string
        raise RejectedMessageError("unknown_task")
    id_ = task.headers.id
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task.headers.task,
        "id": id_,
        "root_id": id_,
        "parent_id": None,
        "group": None,
        "group_index": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "",
        "kwargsrepr": "",
        "origin": "",
        "ignore_result": task.headers.ignore_result or None,  # None: as the task declares
        "replaced_task_nesting": 0,
        "stamps": {},
        "stamped_headers": None,
    }
    if task.is_signed:
        return _message(task, task.plain_body(), headers, queue)
    match decode(task.plain_body()):
        case [list() as args, dict() as kwargs, dict() | None]:
            return _message(task, _encode([args, kwargs, _NO_CALLBACKS]), headers, queue)
    raise RejectedMessageError("malformed")


def _rebuild_command(command: _Message, queue: str) -> dict[str, Any]:
    body = command.plain_body()
    if not command.is_signed:
        ping = _Ping.model_validate(decode(body))
        body = _encode(ping.model_dump() | {"arguments": {}, "pattern": None, "matcher": None})
    return _message(command, body, {"clock": 0}, queue)


def _rebuild_reply(reply: _Reply, queue: str) -> dict[str, Any]:
    body = reply.plain_body()
    if not reply.is_signed:
        body = _encode(decode(body))
    return _message(reply, body, {"clock": 0, "ticket": reply.headers.ticket}, queue)


def _message(received: _Message, body: bytes, headers: dict[str, Any], queue: str) -> dict[str, Any]:
    return {
        "body": base64.b64encode(body).decode(),
        "content-type": received.content_type,
        "content-encoding": "utf-8",
        "headers": headers,
        "properties": {
            "correlation_id": headers.get("id"),
            "reply_to": None,
            "priority": 0,
            "delivery_mode": 2,
            "body_encoding": "base64",
            # a message that returns to Redis returns to its own queue
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": str(uuid4()),
        },
    }


def _encode(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _is_too_deep(text: str) -> bool:
    """Counts brackets outside strings, in linear time. Only JSON that the decoder refuses is counted wrongly."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub("", text.replace(r"\\", "").replace(r"\"", ""))):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _without_types(value: dict[str, Any]) -> dict[str, Any]:
    """Replaces an object that kombu would decode to a Python type, such as a date or a UUID."""
    return {} if value.keys() == {"__type__", "__value__"} else value


def _without_constant(_: str) -> dict[str, Any]:
    """Replaces NaN and Infinity, which Python writes and which are not JSON."""
    return {}


# An empty object is valid in no place of a document for a task, so that its sender is answered with the name of the
# field. Null would be the same as an absent field.
_DECODER: Final = json.JSONDecoder(object_hook=_without_types, parse_constant=_without_constant)
