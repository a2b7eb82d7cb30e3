"""Forged task messages: valid ones of any task, and headers and properties that must have no effect."""

import base64
import json
from typing import Any, Final
from uuid import uuid4

from worker.queues import QueueName

PATIENT: Final = "Erika-Mustermann"
SUBMISSION: Final = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}

HEADERS: Final[dict[str, dict[str, Any]]] = {
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
PROPERTIES: Final[dict[str, dict[str, Any]]] = {
    "no delivery tag": {},
    "a delivery tag that is a list": {"delivery_tag": []},
    "another queue": {"delivery_info": {"exchange": "", "routing_key": PATIENT}},
    "a reply queue": {"reply_to": PATIENT, "correlation_id": PATIENT},
    "priority and expiration": {"priority": "high", "expiration": "-1"},
}


def forged_message(
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
