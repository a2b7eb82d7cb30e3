"""A generator of malformed task messages: valid ones in which a few parts were replaced, removed, nested or damaged."""

import base64
import bz2
import json
import random
import string
import zlib
from collections.abc import Callable
from typing import Any, Final
from uuid import uuid4

_TASKS: Final = ("inbox.submit", "inbox.drain", "inbox.sweep", "training.run", "os.system", "celery.chord", "")
_HEADERS: Final = (
    *("task", "id", "lang", "shadow", "timelimit", "eta", "expires", "retries", "group", "group_index", "chord"),
    *("root_id", "parent_id", "replyto", "reply_to", "origin", "stamps", "stamped_headers", "argsrepr", "kwargsrepr"),
    *("compression", "ignore_result", "replaced_task_nesting", "clock", "ticket", "redelivered", "__type__", ""),
)
_PROPERTIES: Final = (
    *("delivery_tag", "delivery_info", "delivery_mode", "body_encoding", "correlation_id", "reply_to", "priority"),
    *("expiration", "type", "user_id", "timestamp", "message_id", "app_id"),
)
_TEXTS: Final = (
    *("", " ", "\x00", "\n", "a\nb", "\ud800", "\u202e", "ä" * 5, "x" * 10_000, "../../etc/passwd", "null", "NaN"),
    *("2999-01-01T00:00:00+00:00", "2000-01-01", "tomorrow", "-1", "1e999", "{}", "base64", "utf-16", "pickle", "gzip"),
)
_NUMBERS: Final = (0, 1, -1, 10**18, 10**400, 0.001, -0.0, 1e308, True, False)
_FIELDS: Final = ("method", "arguments", "destination", "pattern", "matcher", "reply_to", "ticket", "exchange")
_KEYS: Final = ("args", "kwargs", "task", "id", "callbacks", "chord", "__type__", "__value__", "a", "")


class MalformedMessages:
    """Makes messages from a seed, so that a failure can be repeated."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def make(self, task: str, body: Any) -> bytes:
        """Returns what a sender might put into Redis instead of a message with this task and this body."""
        message = self._envelope(task)
        changes = self._random.choices(
            (self._change_headers, self._change_properties, self._change_envelope), k=self._random.choice((0, 1, 1, 2))
        )
        for change in changes:
            change(message)
        if self._random.random() < 0.5:
            body = self._damaged(body)
        message.setdefault("body", self._body(body))
        return self._raw(json.dumps(message).encode())

    def _envelope(self, task: str) -> dict[str, Any]:
        id_ = str(uuid4())
        return {
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {"lang": "py", "task": task, "id": id_, "root_id": id_, "parent_id": None, "retries": 0},
            "properties": {
                "correlation_id": id_,
                "reply_to": str(uuid4()),
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "intake"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }

    def _change_headers(self, message: dict[str, Any]) -> None:
        self._change(message, "headers", _HEADERS)
        if self._random.random() < 0.2 and isinstance(message.get("headers"), dict):
            message["headers"]["task"] = self._random.choice(_TASKS)

    def _change_properties(self, message: dict[str, Any]) -> None:
        self._change(message, "properties", _PROPERTIES)

    def _change(self, message: dict[str, Any], part: str, names: tuple[str, ...]) -> None:
        values = message.get(part)
        if not isinstance(values, dict) or self._random.random() < 0.1:
            message[part] = self._value()
        elif self._random.random() < 0.2:
            values.pop(self._random.choice(names), None)
        else:
            for name in self._random.sample(names, self._random.randint(1, 4)):
                values[name] = self._value()

    def _change_envelope(self, message: dict[str, Any]) -> None:
        name = self._random.choice(("content-type", "content-encoding", "body", "headers", "properties", "redelivered"))
        if self._random.random() < 0.3:
            message.pop(name, None)
        else:
            message[name] = self._value()

    def _damaged(self, body: Any) -> Any:
        if self._random.random() < 0.3:
            return self._value()
        if isinstance(body, dict):
            return body | {self._random.choice(_FIELDS): self._value()}
        place = self._random.randrange(4)
        if place == 3:
            return body[: self._random.randrange(3)] + [self._value()] * self._random.randrange(3)
        if place == 0 and self._random.random() < 0.5:
            return [[self._value()], *body[1:]]
        return [*body[:place], self._value(), *body[place + 1 :]]

    def _body(self, body: Any) -> object:
        text = json.dumps(body).encode()
        match self._random.randrange(30):
            case 0:
                return base64.b64encode(zlib.compress(text)).decode()
            case 1:
                return base64.b64encode(bz2.compress(bytes(10**6))).decode()
            case 2:
                return base64.b64encode(text).decode()[: self._random.randrange(40)]
            case 3:
                return base64.b64encode(text.decode().encode("utf-16")).decode()
            case 4:
                return text.decode()
            case 5:
                return base64.b64encode(text).decode() + "ä="
        return base64.b64encode(text).decode()

    def _raw(self, message: bytes) -> bytes:
        place = self._random.randrange(len(message))
        match self._random.randrange(40):
            case 0:
                return message[:place]
            case 1:
                return message[:place] + self._random.randbytes(3) + message[place:]
            case 2:
                return b"\xef\xbb\xbf" + message
            case 3:
                return message + message
            case 4:
                return message.decode().encode("utf-16")
            case 5:
                return message.replace(b"null", b"NaN").replace(b"0", b"Infinity", 1)
            case 6:
                return self._random.choice((b"", b"null", b"[]", b"7", b'"x"', b"{}", b"[" * 10**5, b'{"a":' * 10**4))
        return message

    def _value(self, depth: int = 3) -> Any:
        kinds: tuple[Callable[[], Any], ...] = (
            lambda: None,
            lambda: self._random.choice(_NUMBERS),
            lambda: self._random.choice(_TEXTS),
            lambda: "".join(self._random.choices(string.printable, k=self._random.randrange(50))),
            self._nested,
            lambda: [self._value(depth - 1) for _ in range(self._random.randrange(4))] if depth else [],
            lambda: {self._random.choice(_KEYS): self._value(depth - 1) for _ in range(3)} if depth else {},
        )
        return self._random.choice(kinds)()

    def _nested(self) -> Any:
        value: Any = self._random.choice(([], {}, 1))
        for _ in range(self._random.choice((2, 30, 33, 300, 900))):
            value = [value] if self._random.random() < 0.5 else {"a": value}
        return value
