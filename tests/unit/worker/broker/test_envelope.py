"""What a worker receives in place of a message from Redis; system tests send the real thing to real workers."""

import base64
import bz2
import json
from typing import Any

import pytest
from celery import Celery

from triage.errors import UsageError
from worker.app import create_app
from worker.broker.envelope import MAX_BYTES, MAX_DEPTH, RejectedMessageError, decode, rebuild
from worker.documents.submission import Submission
from worker.queues import SENDER_TASKS, QueueName, TaskName
from worker.settings import Settings

COMMANDS = "intake@host.celery.pidbox"
REPLIES = "0b8e.reply.celery.pidbox"
FORGED = {
    "timelimit": [0.001, 0.001],
    "eta": "2999-01-01T00:00:00",
    "expires": "2000-01-01T00:00:00",
    "retries": 10**9,
    "group": "g",
    "chord": {"task": "os.system"},
    "root_id": "another",
    "parent_id": "another",
    "replyto": "another",
    "origin": "another",
    "shadow": {"a": 1},
    "stamps": {"a": ["b"]},
    "stamped_headers": ["a"],
    "redelivered": True,
    "compression": "zlib",
    "argsrepr": "Erika Mustermann",
}


def _task(body: object = None, **changes: Any) -> dict[str, Any]:
    plain = json.dumps([[{}], {}, {}] if body is None else body).encode()
    return {
        "body": base64.b64encode(plain).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": TaskName.SUBMIT.value, "id": "i-1"},
        "properties": {"body_encoding": "base64", "delivery_tag": "t-1", "delivery_info": {}},
    } | changes


def _command(body: dict[str, Any], **headers: Any) -> dict[str, Any]:
    return _task(body, headers={"clock": 7, "expires": 1.5} | headers)


def _without_tag(message: dict[str, Any]) -> dict[str, Any]:
    properties = {name: value for name, value in message["properties"].items() if name != "delivery_tag"}
    return message | {"properties": properties}


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("name", FORGED)
def test_forged_header_changes_nothing(name: str) -> None:
    plain, forged = _task(), _task()
    forged["headers"] |= {name: FORGED[name]}

    assert _without_tag(rebuild(forged, QueueName.INTAKE)) == _without_tag(rebuild(plain, QueueName.INTAKE))


@pytest.mark.parametrize(
    "forged",
    [
        {"delivery_tag": "of another message"},
        {"delivery_tag": []},
        {"delivery_info": {"exchange": "", "routing_key": "any-key"}},
        {"reply_to": "any-key", "correlation_id": ["x"]},
        {"priority": "high", "expiration": -1},
    ],
)
def test_forged_property_changes_nothing(forged: dict[str, Any]) -> None:
    message = _task(properties={"body_encoding": "base64", **forged})

    assert _without_tag(rebuild(message, QueueName.INTAKE)) == _without_tag(rebuild(_task(), QueueName.INTAKE))
    assert rebuild(message, QueueName.INTAKE)["properties"]["delivery_tag"] != forged.get("delivery_tag")


def test_callbacks_of_the_body_are_dropped() -> None:
    call = {"task": "os.system", "args": ["id"]}
    embed = {"callbacks": [call], "errbacks": [call], "chain": [call], "chord": call}
    body = base64.b64decode(rebuild(_task([[1], {"a": 2}, embed]), QueueName.INTAKE)["body"])

    assert json.loads(body) == [[1], {"a": 2}, dict.fromkeys(embed)]


def test_message_of_a_celery_app_is_received_with_the_same_arguments() -> None:
    app: Celery = create_app(Settings())
    sent = app.amqp.as_task_v2("i-1", TaskName.SUBMIT, [{"source": "ä\ud800"}], {"b": 1}, ignore_result=True)
    received = rebuild(_task(sent.body, headers=sent.headers), QueueName.INTAKE)

    assert json.loads(base64.b64decode(received["body"]))[:2] == [[{"source": "ä\ud800"}], {"b": 1}]
    assert received["headers"]["ignore_result"] is True
    assert set(sent.headers) - set(received["headers"]) == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (_nested(MAX_DEPTH + 1), "too_deep"),
        ('{"a":' * 100_000, "too_deep"),
        ("[" * 500_000, "too_deep"),
        ('"' + '\\"' * 500_000 + "[" * 1000, "malformed"),
        ("[" + " " * MAX_BYTES + "]", "too_large"),
        (b"\xff\xfe", "malformed"),
        ("", "malformed"),
        ("[1" + "0" * 5000 + "]", "malformed"),
    ],
)
def test_json_beyond_a_limit_is_rejected_before_it_is_decoded(text: str | bytes, kind: str) -> None:
    with pytest.raises(RejectedMessageError, match=kind):
        decode(text)


@pytest.mark.parametrize(
    "text", [_nested(MAX_DEPTH), json.dumps("[" * 1000), json.dumps('\\"[' * 1000), '["\\\\", []]']
)
def test_brackets_in_strings_and_shallow_json_are_accepted(text: str) -> None:
    assert decode(text) == json.loads(text)


def test_depth_of_the_body_is_limited() -> None:
    message = _task()
    message["body"] = base64.b64encode(f"[[{_nested(900)}], {{}}, {{}}]".encode()).decode()

    with pytest.raises(RejectedMessageError, match="too_deep"):
        rebuild(message, QueueName.INTAKE)


@pytest.mark.parametrize(
    "value",
    [{"__type__": "uuid", "__value__": {"x": 1}}, {"__type__": [], "__value__": 1}, float("nan"), float("-inf")],
)
def test_value_that_is_not_json_becomes_one_that_no_document_accepts(value: object) -> None:
    """Null would be an absent field: a thread that a sender gave as a UUID would be lost without an error."""
    body = base64.b64decode(rebuild(_task([[{"thread": value}], {}, {}]), QueueName.INTAKE)["body"])

    document = json.loads(body)[0][0]
    assert document == {"thread": {}}
    with pytest.raises(UsageError, match="thread: Input should be a valid string"):
        Submission.parse(document)


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"task": "inbox.submit"}},
        {"headers": {"task": "inbox.submit", "id": "a b"}},
        {"headers": {"task": "inbox.submit", "id": "a\n"}},
        {"headers": {"task": "inbox.submit", "id": "ä"}},
        {"headers": {"task": "inbox.submit", "id": 1}},
        {"headers": {"task": "inbox.submit", "id": "a", "ignore_result": "yes"}},
        {"headers": None},
        {"properties": {}, "body": "[]"},
        {"properties": {"body_encoding": "rot13"}},
        {"content-type": "pickle"},
        {"content-encoding": "nonsense"},
        {"body": "\ud800", "properties": {}},
        {"body": base64.b64encode(bz2.compress(bytes(10**6))).decode()},
        {"body": "A" * 2**21},
        {"body": 7},
    ],
)
def test_malformed_message_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(RejectedMessageError, match="malformed"):
        rebuild(_task() | change, QueueName.INTAKE)


@pytest.mark.parametrize("task", ["inbox.drain", "os.system", "celery.backend_cleanup"])
def test_task_that_does_not_belong_to_the_queue_is_rejected(task: str) -> None:
    with pytest.raises(RejectedMessageError, match="unknown_task"):
        rebuild(_task(headers={"task": task, "id": "i-1"}), QueueName.INTAKE)


@pytest.mark.parametrize("task", SENDER_TASKS)
def test_task_for_senders_is_received_from_the_intake_queue_only(task: TaskName) -> None:
    message = _task(headers={"task": task.value, "id": "i-1", "timelimit": [1, 1], "reply_to": "elsewhere"})

    received = rebuild(message, QueueName.INTAKE)

    assert (received["headers"]["task"], received["headers"]["timelimit"]) == (task, [None, None])
    for queue in set(QueueName) - {QueueName.INTAKE}:
        with pytest.raises(RejectedMessageError, match="unknown_task"):
            rebuild(message, queue)


def test_signed_body_is_kept() -> None:
    signed = _task(**{"content-type": "application/data", "body": base64.b64encode(b"signature and body").decode()})

    assert rebuild(signed, QueueName.INTAKE)["body"] == signed["body"]


def test_only_ping_is_received_and_without_patterns_or_arguments() -> None:
    ping = {
        "method": "ping",
        "arguments": {"x": 1},
        "destination": ["intake@host"],
        "pattern": "(a+)+$",
        "matcher": "pcre",
        "ticket": "t-1",
        "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": "r-1"},
    }
    received = rebuild(_command(ping), COMMANDS)

    assert received["headers"] == {"clock": 0}
    assert json.loads(base64.b64decode(received["body"])) == ping | {"arguments": {}, "pattern": None, "matcher": None}
    for change in ({"method": "shutdown"}, {"reply_to": {"exchange": "inbox", "routing_key": "r"}}, {"ticket": 1}):
        with pytest.raises(RejectedMessageError):
            rebuild(_command(ping | change), COMMANDS)


def test_reply_to_a_command_keeps_its_ticket() -> None:
    received = rebuild(_command({"intake@host": {"ok": "pong"}}, ticket="t-1"), REPLIES)

    assert received["headers"] == {"clock": 0, "ticket": "t-1"}
    assert json.loads(base64.b64decode(received["body"])) == {"intake@host": {"ok": "pong"}}
