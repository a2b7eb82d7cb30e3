"""A process of a worker that is killed: its sender gets an answer and the next message is accepted."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import NullPool, create_engine, text

from tests.support.deployment import WAIT_SECONDS, Deployment, eventually
from worker.queues import TaskName
from worker.services import Services
from worker.state_folder import StateFolder

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]


def test_sender_is_answered_when_the_intake_child_is_killed(
    deploy: Deploy, services: Services, embedded: StateFolder, database: str, jpeg: Callable[..., bytes]
) -> None:
    root = Path(services.settings.intake.uri_roots[0].removeprefix("file://"))
    root.mkdir(parents=True, exist_ok=True)
    (root / "1.jpg").write_bytes(jpeg(1))
    message = {"source": "ehr", "message_id": "m-1", "attachments": [{"uri": (root / "1.jpg").as_uri()}]}
    with deploy() as clinic:
        clinic.start("intake", beat=False)
        eventually(lambda: services.celery.control.ping(timeout=1.0))
        child = clinic.child("intake")
        assert child is not None
        engine = create_engine(embedded.database_url(database), poolclass=NullPool)
        with engine.begin() as owner:
            owner.execute(text("LOCK TABLE message IN ACCESS EXCLUSIVE MODE"))
            sent = services.celery.send_task(TaskName.SUBMIT, [message], ignore_result=False)
            eventually(lambda: clinic.query("SELECT 1 FROM pg_locks WHERE NOT granted"))
            assert sent.state == "PENDING"

            child.kill()

            answer = sent.get(timeout=WAIT_SECONDS)
        assert answer["error"]["code"] == "unavailable"
        assert answer["error"]["message"].endswith(": retry")
        assert services.celery.send_task(TaskName.SUBMIT, [message]).get(timeout=WAIT_SECONDS)["created"]
        log = clinic.log("intake").read_text(encoding="utf-8")
        assert log.count('"task.lost"') == 1
        assert "Traceback" not in log
