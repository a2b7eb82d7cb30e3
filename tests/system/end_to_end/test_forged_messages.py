"""The intake worker rejects forged messages in Redis, logs the rejection and continues."""

import base64
import json
import pickle
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
        "no delivery tag": _without(_message(), "properties", "delivery_tag"),
        "a delivery tag that is a list": _message(properties={"delivery_tag": [], "body_encoding": "base64"}),
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
        "an unknown compression": _message(headers={"compression": "nonsense"}),
        "broken compression": _message(headers={"compression": "application/x-gzip"}),
        "a time that is none": _message(headers={"eta": "tomorrow", "expires": PATIENT}),
        "limits that are words": _message(headers={"timelimit": ["a", "b"]}),
        "retries that are a word": _message(headers={"retries": "many"}),
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
