"""The intake worker rejects forged messages in Redis, logs the rejection and continues."""

import json
import pickle
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from tests.support.forged_messages import HEADERS, PATIENT, PROPERTIES, SUBMISSION, forged_message
from worker.queues import QueueName
from worker.services import Services

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

MARK = Path("/var/tmp/triage-forged")


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (MARK,)


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
        "no properties": _without(forged_message(), "properties"),
        "no headers": _without(forged_message(), "headers"),
        "headers that are a list": forged_message() | {"headers": [1]},
        "headers that are nothing": forged_message() | {"headers": None},
        "no task": _without(forged_message(), "headers", "task"),
        "no id": _without(forged_message(), "headers", "id"),
        "an id that is a list": forged_message(headers={"id": [1]}),
        "an unknown task": forged_message(headers={"task": "os.system"}),
        "a task that is a list": forged_message(headers={"task": ["inbox.submit"]}),
        "a task of another kind of worker": forged_message(headers={"task": "training.run"}, body=[[], {}, {}]),
        "a task of Celery's own": forged_message(headers={"task": "celery.backend_cleanup"}),
        "no body": _without(forged_message(), "body"),
        "a body that is no base64": forged_message() | {"body": "\u00e4\u00f6"},
        "an unknown body encoding": forged_message()
        | {"properties": {**forged_message()["properties"], "body_encoding": "rot13"}},
        "a body that is no JSON": forged_message(raw_body=b"\x00{"),
        "a body that is an object": forged_message(body={}),
        "arguments that are no list": forged_message(body=["x", {}, {}]),
        "options that are no object": forged_message(body=[[SUBMISSION], {}, 7]),
        "too few arguments": forged_message(body=[[], {}, {}]),
        "unknown arguments": forged_message(body=[[SUBMISSION], {PATIENT: 1}, {}]),
        "a message that is no object": forged_message(body=[[PATIENT], {}, {}]),
        "pickle": forged_message(raw_body=malicious, content_type="application/x-python-serialize"),
        "pickle by its other name": forged_message(raw_body=malicious, content_type="pickle"),
        "pickle under the name of JSON": forged_message(raw_body=malicious),
        "YAML": forged_message(raw_body=b"!!python/object/apply:os.getpid []", content_type="application/x-yaml"),
        "an unknown content type": forged_message(content_type="text/plain"),
        "no content type": _without(forged_message(), "content-type"),
        "an unknown encoding": forged_message() | {"content-encoding": "nonsense"},
        "a compressed body": forged_message(
            raw_body=zlib.compress(bytes(10**6)), headers={"compression": "application/x-gzip"}
        ),
        "deep brackets in the submission": forged_message(body=[[SUBMISSION | {"thread": _nested(900)}], {}, {}]),
        "deep brackets in the arguments": forged_message(body=[_nested(900), {}, {}]),
        "deep brackets in a header": forged_message(headers={"shadow": _nested(900)}),
        "deep brackets in a property": forged_message(properties={"body_encoding": "base64", "reply_to": _nested(900)}),
        "an id that would be two lines": forged_message(headers={"id": "a\nb"}),
        "a body of two megabytes": forged_message(body=[[{"source": "x" * 2**21}], {}, {}]),
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


def test_forged_header_or_property_has_no_effect_on_its_task(deploy: Deploy, services: Services) -> None:
    queue = f"{services.settings.redis.key_prefix}{QueueName.INTAKE}"
    calls = [{"task": "inbox.submit", "args": [SUBMISSION | {"message_id": "m-callback"}], "options": {}}]
    with deploy("intake") as clinic:
        for name in HEADERS | PROPERTIES:
            submission = SUBMISSION | {"message_id": name.replace(" ", "-")}
            message = forged_message(headers=HEADERS.get(name), body=[[submission], {}, {"callbacks": calls}])
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
