"""Senders that cost much: a web server that never answers."""

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TypeAlias

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from worker.queues import TaskName
from worker.services import Services

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]


def test_good_photos_are_scored_while_a_web_server_hangs(
    deploy: Deploy, services: Services, jpeg: Callable[..., bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as hung:
        hung.setblocking(False)
        root = f"http://127.0.0.1:{hung.getsockname()[1]}/in"
        variables = {
            "INTAKE__URI_ROOTS": json.dumps([root]),
            "INTAKE__LOCAL_NETWORKS": '["127.0.0.0/8"]',
            "INTAKE__FETCH_SECONDS": "3",
        }
        with deploy("intake", **variables) as clinic:
            message = {"source": "ehr", "message_id": "hung"}
            attachments = [{"uri": f"{root}/{number}.jpg"} for number in range(20)]
            sent = services.celery.send_task(TaskName.SUBMIT, [message | {"attachments": attachments}])
            assert sent.get(timeout=WAIT_SECONDS)["created"]
            clinic.send("good", jpeg(1))

            clinic.start("scoring")

            assert eventually(lambda: clinic.outcome("good"))
            assert clinic.outcome("hung") is None
            assert 1 <= _accepted(hung) < 10  # each takes three seconds; without pauses it would be twenty


def _accepted(listening: socket.socket) -> int:
    count = 0
    with suppress(BlockingIOError):
        while True:
            listening.accept()[0].close()
            count += 1
    return count
