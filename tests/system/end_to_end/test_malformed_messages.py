"""Two thousand malformed messages to running workers, which then process good messages as before."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from tests.support.malformed_messages import MalformedMessages
from worker.queues import QueueName, TaskName
from worker.services import Services

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

SEED = 16
MESSAGES = 2000
PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
NO_CALLBACKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SUBMISSION = {"source": "ehr", "message_id": "m-malformed", "attachments": [{"uri": "file:///elsewhere/1.jpg"}]}
CALLS: tuple[tuple[TaskName, dict[str, Any]], ...] = (
    (TaskName.SUBMIT, SUBMISSION),
    (TaskName.CLAIM, {"by": "ehr"}),
    (TaskName.ACKNOWLEDGE, {"by": "ehr", "requests": [{"id": str(uuid4()), "token": str(uuid4())}]}),
    (TaskName.WITHDRAW, {"by": "ehr", "id": str(uuid4())}),
    (TaskName.OPT_OUT, {"source": "ehr", "thread": "t-malformed", "by": "ehr"}),
    (TaskName.DECISIONS, {"after": None}),
)


def test_workers_process_good_messages_after_malformed_ones(
    deploy: Deploy, services: Services, jpeg: Callable[..., bytes]
) -> None:
    messages, prefix = MalformedMessages(SEED), services.settings.redis.key_prefix
    with deploy("intake", "scoring") as clinic:
        eventually(lambda: len(services.celery.control.ping(timeout=2.0)) == 2)
        pids = {kind: clinic.workers[kind].pid for kind in clinic.workers}
        with services.redis.pipeline(transaction=False) as pipeline:
            for number in range(MESSAGES):
                task, queue, body = _target(number)
                key = f"{prefix}{queue}{PRIORITIES[number // 2 % len(PRIORITIES)]}"
                pipeline.lpush(key, messages.make(task, body))
            pipeline.execute()
        for _ in range(MESSAGES // 10):  # remote control commands; the channel has the number of the database
            command = messages.make("ping", {"method": "ping", "destination": None, "arguments": {}})
            assert services.redis.publish(f"{prefix}/0.celery.pidbox", command) == len(pids)
        eventually(lambda: not any(services.worker_heartbeats.tasks_wait(kind) for kind in pids), wait_seconds=600)

        answer = services.celery.send_task(TaskName.SUBMIT, [SUBMISSION]).get(timeout=WAIT_SECONDS)
        clinic.send("m-good", jpeg(1), jpeg(2))

        assert answer["message_id"] == "m-malformed"
        assert eventually(lambda: clinic.outcome("m-good"))
        assert len(services.celery.control.ping(timeout=10.0, limit=2)) == 2
        for kind, pid in pids.items():
            assert (clinic.workers[kind].poll(), clinic.workers[kind].pid) == (None, pid), f"seed {SEED}"
            said = _said(clinic, kind)
            assert said["task.refused"] > MESSAGES / 10, said
            assert not said.keys() & {"delivery.failed", "work.stalled", "Unrecoverable error: %r"}, said


def _target(number: int) -> tuple[TaskName, QueueName, list[Any]]:
    if number % 2:
        return TaskName.DRAIN, QueueName.INBOX, [[], {}, NO_CALLBACKS]
    task, document = CALLS[number // 2 % len(CALLS)]
    return task, QueueName.INTAKE, [[document], {}, NO_CALLBACKS]


def _said(clinic: Deployment, kind: str) -> Counter[str]:
    lines = clinic.log(kind).read_text(encoding="utf-8").splitlines()
    return Counter(json.loads(line)["event"] for line in lines if line.startswith("{"))
