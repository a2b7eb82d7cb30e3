"""Senders that cost much: photos larger than the memory, a web server that never answers."""

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TypeAlias

import pytest
from PIL import Image

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from tests.support.large_files import LARGE
from worker.queues import TaskName
from worker.services import Services

pytestmark = pytest.mark.long

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


def test_worker_goes_on_when_photos_exceed_its_memory(
    deploy: Deploy, services: Services, jpeg: Callable[..., bytes]
) -> None:
    image = Image.new("RGB", (6400, 6400), (190, 140, 120))

    with deploy("intake", "scoring", SCORER__DECODE_MEMORY_MB="512") as clinic:
        for name, make in LARGE.items():
            clinic.send(name, make(image))
        child = eventually(lambda: clinic.child("scoring"))
        for name in LARGE:
            eventually(lambda name=name: clinic.outcome(name))  # type: ignore[misc]
        clinic.send("good", jpeg(1))
        eventually(lambda: clinic.outcome("good"))

        rows = clinic.query(
            "SELECT message.external_id, status, error_code FROM attachment "
            "JOIN message ON message.id = attachment.message_id"
        )
        too_large = dict.fromkeys(LARGE, ("not_assessable", "too_much_memory"))
        assert {name: (status, code) for name, status, code in rows} == too_large | {"good": ("scored", None)}
        assert clinic.child("scoring") == child
