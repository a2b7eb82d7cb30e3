"""Messages that stop a worker whose guard is switched off (`tests.support.faulty_app`)."""

import json
import sys
from typing import Any
from uuid import uuid4

from worker.queues import WORKERS, QueueName, TaskName
from worker.services import Services

_DEPTH = 900 if sys.version_info < (3, 13) else 7000  # json reads it, and pickle cannot pass it to the child


def _nested() -> list[Any]:
    nested: list[Any] = []
    for _ in range(_DEPTH - 1):
        nested = [nested]
    return nested


SUBMISSION = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}
ATTACKS: dict[str, tuple[TaskName, list[Any], dict[str, Any]]] = {
    "deep submission": (TaskName.SUBMIT, [SUBMISSION | {"thread": _nested()}], {}),
    "name that is an object": (TaskName.SUBMIT, [SUBMISSION], {"shadow": {"a": 1}}),
    "deep arguments of a drain": (TaskName.DRAIN, [_nested()], {}),
}


def attack(services: Services, name: str) -> str:
    """Sends a message that stops a worker; returns the kind of worker."""
    task, arguments, headers = ATTACKS[name]
    queue = {TaskName.SUBMIT: QueueName.INTAKE, TaskName.DRAIN: QueueName.INBOX}[task]
    id_ = str(uuid4())
    message = {
        "body": json.dumps([arguments, {}, {}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": task, "id": id_, "root_id": id_} | headers,
        "properties": {
            "correlation_id": id_,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "delivery_tag": str(uuid4()),
        },
    }
    services.redis.lpush(f"{services.settings.redis.key_prefix}{queue}", json.dumps(message))
    return next(kind for kind, queues in WORKERS.items() if queue in queues)
