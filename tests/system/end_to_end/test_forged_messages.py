"""The intake worker rejects forged messages in Redis, logs the rejection and continues."""

import base64
import json
import pickle
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from worker.queues import QueueName
from worker.services import Services

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

PATIENT = "Erika-Mustermann"
MARK = Path("/var/tmp/triage-forged")
SUBMISSION = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (MARK,)


def _message(
    *,
    body: object = None,
    raw_body: bytes | None = None,
    content_type: str = "application/json",
    headers: dict[str, Any] | None = None,
    **changes: object,
) -> dict[str, Any]:
    """A message as Celery puts it into Redis, with changes."""
    id_ = str(uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    plain = json.dumps([[SUBMISSION], {}, embed] if body is None else body).encode() if raw_body is None else raw_body
    return {
        "body": base64.b64encode(plain).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {"lang": "py", "task": "inbox.submit", "id": id_, "root_id": id_, "parent_id": None, "retries": 0}
        | (headers or {}),
        "properties": {
            "correlation_id": id_,
            "reply_to": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QueueName.INTAKE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    } | changes


def _nested(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth - 1):
        nested = [nested]
    return nested


def _without(message: dict[str, Any], *path: str) -> dict[str, Any]:
    part = message
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return message


def _forged() -> dict[str, bytes]:
    malicious = pickle.dumps(_RunsCode(), protocol=2)
    messages: dict[str, object] = {
        "a list": [],
        "a number": 7,
        "nothing": None,
        "an empty object": {},
        "no properties": _without(_message(), "properties"),
        "no headers": _without(_message(), "headers"),
        "headers that are a list": _message() | {"headers": [1]},
        "headers that are nothing": _message() | {"headers": None},
        "no task": _without(_message(), "headers", "task"),
        "no id": _without(_message(), "headers", "id"),
        "an id that is a list": _message(headers={"id": [1]}),
        "an unknown task": _message(headers={"task": "os.system"}),
        "a task that is a list": _message(headers={"task": ["inbox.submit"]}),
        "a task of another kind of worker": _message(headers={"task": "training.run"}, body=[[], {}, {}]),
        "a task of Celery's own": _message(headers={"task": "celery.backend_cleanup"}),
        "no body": _without(_message(), "body"),
        "a body that is no base64": _message() | {"body": "\u00e4\u00f6"},
        "an unknown body encoding": _message() | {"properties": {**_message()["properties"], "body_encoding": "rot13"}},
        "a body that is no JSON": _message(raw_body=b"\x00{"),
        "a body that is an object": _message(body={}),
        "arguments that are no list": _message(body=["x", {}, {}]),
        "options that are no object": _message(body=[[SUBMISSION], {}, 7]),
        "too few arguments": _message(body=[[], {}, {}]),
        "unknown arguments": _message(body=[[SUBMISSION], {PATIENT: 1}, {}]),
        "a message that is no object": _message(body=[[PATIENT], {}, {}]),
        "pickle": _message(raw_body=malicious, content_type="application/x-python-serialize"),
        "pickle by its other name": _message(raw_body=malicious, content_type="pickle"),
        "pickle under the name of JSON": _message(raw_body=malicious),
        "YAML": _message(raw_body=b"!!python/object/apply:os.getpid []", content_type="application/x-yaml"),
        "an unknown content type": _message(content_type="text/plain"),
        "no content type": _without(_message(), "content-type"),
        "an unknown encoding": _message() | {"content-encoding": "nonsense"},
        "a compressed body": _message(
            raw_body=zlib.compress(bytes(10**6)), headers={"compression": "application/x-gzip"}
        ),
        "deep brackets in the submission": _message(body=[[SUBMISSION | {"thread": _nested(900)}], {}, {}]),
        "deep brackets in the arguments": _message(body=[_nested(900), {}, {}]),
        "deep brackets in a header": _message(headers={"shadow": _nested(900)}),
        "deep brackets in a property": _message(properties={"body_encoding": "base64", "reply_to": _nested(900)}),
        "an id that would be two lines": _message(headers={"id": "a\nb"}),
        "a body of two megabytes": _message(body=[[{"source": "x" * 2**21}], {}, {}]),
    }
    return {
        "bytes": b"\x00\xff\xfe no message",
        "nothing at all": b"",
        "half a document": b'{"body": "',
        "deep brackets": b"[" * 100_000,
        "not a number": b'{"body": NaN}',
    } | {name: json.dumps(message).encode() for name, message in messages.items()}


def test_forged_message_is_refused_with_a_log_line_and_stops_no_worker(deploy: Deploy, services: Services) -> None:
    MARK.unlink(missing_ok=True)
    queue = f"{services.settings.redis.key_prefix}{QueueName.INTAKE}"
    with deploy("intake") as clinic:
        for name, forged in _forged().items():
            before = _said(clinic)
            services.redis.lpush(queue, forged)
            answer = services.celery.send_task("inbox.submit", [SUBMISSION]).get(timeout=WAIT_SECONDS)

            assert answer["message_id"] == "m-1", name
            _wait_for_another_acceptance(clinic, before)
            assert (_said(clinic) - before).keys() - {"message.accepted"}, f"no word of {name}"
        said = _said(clinic)
        assert clinic.workers["intake"].poll() is None
        assert PATIENT.encode() not in clinic.log("intake").read_bytes()
        keys = services.redis.scan_iter(f"{services.settings.redis.key_prefix}*")
        assert [key for key in keys if PATIENT.encode() in (services.redis.dump(key) or b"")] == []

    assert "Unrecoverable error: %r" not in said
    assert said["task.refused"] > len(_forged()) / 2
    assert not MARK.exists()


HEADERS: dict[str, dict[str, Any]] = {
    "a name that is an object": {"shadow": {"a": 1}},
    "time limits of a moment": {"timelimit": [0.001, 0.001]},
    "time limits that are words": {"timelimit": ["a", "b"]},
    "a start next century": {"eta": "2999-01-01T00:00:00+00:00"},
    "a start that is no time": {"eta": "tomorrow"},
    "an end in the past": {"expires": "2000-01-01T00:00:00+00:00"},
    "an end that is no time": {"expires": PATIENT},
    "many retries": {"retries": 10**6},
    "retries that are a word": {"retries": "many"},
    "a group": {"group": PATIENT, "group_index": -1},
    "a chord": {"chord": {"task": "inbox.submit", "args": [PATIENT]}},
    "another root": {"root_id": PATIENT, "parent_id": PATIENT},
    "a reply address": {"replyto": PATIENT, "reply_to": [PATIENT]},
    "an origin": {"origin": {"a": PATIENT}},
    "stamps": {"stamps": {PATIENT: [PATIENT]}, "stamped_headers": [PATIENT]},
    "stamps that are a list": {"stamps": [1], "stamped_headers": {"a": 1}},
    "compression of a plain body": {"compression": "nonsense"},
    "a language": {"lang": PATIENT},
    "nesting": {"replaced_task_nesting": PATIENT},
}
PROPERTIES: dict[str, dict[str, Any]] = {
    "no delivery tag": {},
    "a delivery tag that is a list": {"delivery_tag": []},
    "another queue": {"delivery_info": {"exchange": "", "routing_key": PATIENT}},
    "a reply queue": {"reply_to": PATIENT, "correlation_id": PATIENT},
    "priority and expiration": {"priority": "high", "expiration": "-1"},
}


def test_forged_header_or_property_has_no_effect_on_its_task(deploy: Deploy, services: Services) -> None:
    queue = f"{services.settings.redis.key_prefix}{QueueName.INTAKE}"
    calls = [{"task": "inbox.submit", "args": [SUBMISSION | {"message_id": "m-callback"}], "options": {}}]
    with deploy("intake") as clinic:
        for name in HEADERS | PROPERTIES:
            submission = SUBMISSION | {"message_id": name.replace(" ", "-")}
            message = _message(headers=HEADERS.get(name), body=[[submission], {}, {"callbacks": calls}])
            if name in PROPERTIES:
                message["properties"] = {"body_encoding": "base64"} | PROPERTIES[name]
            services.redis.lpush(queue, json.dumps(message))
            answer = services.celery.AsyncResult(message["headers"]["id"]).get(timeout=WAIT_SECONDS)
            assert answer["created"], name
        assert clinic.query("SELECT count(*) FROM message WHERE external_id = 'm-callback'")[0][0] == 0
        eventually(lambda: _said(clinic)["message.accepted"] == len(HEADERS | PROPERTIES))
        assert _said(clinic)["delivery.failed"] == 0
        assert PATIENT.encode() not in clinic.log("intake").read_bytes()
        keys = services.redis.scan_iter(f"{services.settings.redis.key_prefix}*")
        assert [key for key in keys if PATIENT.encode() in (services.redis.dump(key) or b"")] == []


def test_worker_ignores_remote_commands_other_than_ping(deploy: Deploy, services: Services) -> None:
    with deploy("intake") as clinic:
        eventually(lambda: services.celery.control.ping(timeout=1.0))

        services.celery.control.shutdown()
        services.celery.control.cancel_consumer(QueueName.INTAKE)

        assert services.celery.send_task("inbox.submit", [SUBMISSION]).get(timeout=WAIT_SECONDS)["created"]
        assert services.celery.control.ping(timeout=10.0, limit=1)
        assert clinic.workers["intake"].poll() is None


def _wait_for_another_acceptance(clinic: Deployment, before: Counter[str]) -> None:
    eventually(lambda: _said(clinic)["message.accepted"] > before["message.accepted"])


def _said(clinic: Deployment) -> Counter[str]:
    """How often the worker has logged each event."""
    lines = clinic.log("intake").read_text(encoding="utf-8").splitlines()
    return Counter(json.loads(line)["event"] for line in lines if line.startswith("{"))
