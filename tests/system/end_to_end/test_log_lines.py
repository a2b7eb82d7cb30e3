"""What the parts write while they start, meet faults and stop: only JSON events that are documented."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import urlopen
from uuid import uuid4

import psutil
import pytest

from tests.support.deployment import Deployment, eventually
from tests.support.secured_redis import SecuredRedis, free_port
from worker.commands import beat_command
from worker.logging import _STANDARD_FIELDS, ALLOWED_FIELDS
from worker.queues import WORKERS, QueueName, TaskName
from worker.services import Services

pytestmark = pytest.mark.long

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

ROOT = Path(__file__).parents[3]
PATIENT = "Erika-Mustermann"
DOCUMENTED = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (ROOT / "docs" / "operations" / "logs.md").read_text("utf-8")))


def _lines(log: Path) -> list[dict[str, Any]]:
    """Every line of a log. Fails if one is not a documented event with allowed fields."""
    lines = []
    for text in log.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        assert line["event"] in DOCUMENTED, text
        assert set(line) <= ALLOWED_FIELDS | _STANDARD_FIELDS, text
        assert not re.search(r"%[(srd]|\{\}", text), text
        assert PATIENT not in text
        lines.append(line)
    return lines


def _events(log: Path) -> list[str]:
    return [line["event"] for line in _lines(log)]


def _send(services: Services, task: TaskName, queue: QueueName, body: object, content_type: str) -> None:
    message = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-type": content_type,
        "content-encoding": "utf-8",
        "headers": {"task": task, "id": str(uuid4())},
        "properties": {"body_encoding": "base64"},
    }
    services.redis.lpush(f"{services.settings.redis.key_prefix}{queue}", json.dumps(message))


def test_workers_log_only_documented_events(deploy: Deploy, services: Services) -> None:
    with deploy(*WORKERS) as clinic:
        eventually(lambda: len(services.celery.control.ping(timeout=2.0)) == len(WORKERS))
        eventually(lambda: "model.loaded" in _events(clinic.log("scoring")))
        _send(services, TaskName.SUBMIT, QueueName.INTAKE, [[1, PATIENT], {"q": PATIENT}, {}], "application/json")
        _send(services, TaskName.SUBMIT, QueueName.INTAKE, {"signer": PATIENT}, "application/data")
        eventually(lambda: {"task.failed", "task.refused"} <= set(_events(clinic.log("intake"))))
        [child] = psutil.Process(clinic.workers["training"].pid).children()
        child.send_signal(signal.SIGKILL)
        eventually(lambda: "child.lost" in _events(clinic.log("training")))
        assert all(worker.poll() is None for worker in clinic.workers.values())

    for kind in WORKERS:
        lines = _lines(clinic.log(kind))
        started, *beat = [line for line in lines if line["event"] == "part.started"]
        assert [line["kind"] for line in beat] == (["beat"] if kind == "intake" else [])
        assert (started["kind"], started["queues"]) == (kind, sorted(WORKERS[kind]))
        assert started["version"]
        own = [line for line in lines if line["event"] != "library.logged"]  # a library may complain while it ends
        assert own[-1]["event"] in {"part.stopping", "part.waiting"}
    assert "device" in next(line for line in _lines(clinic.log("scoring")) if line["event"] == "part.started")
    refused = next(line for line in _lines(clinic.log("intake")) if line["event"] == "task.refused")
    assert refused["kind"] == "signed"


@pytest.mark.parametrize("part", ["training", "beat"])
def test_part_says_that_redis_refuses_its_password(
    deploy: Deploy, secured_redis: SecuredRedis, tmp_path: Path, part: str
) -> None:
    url = f"redis://:wrong@127.0.0.1:{secured_redis.plain_port}/0"
    with deploy(REDIS__URL=url) as clinic:
        if part == "beat":
            with clinic.log(part).open("wb") as log:
                clinic.workers[part] = subprocess.Popen(
                    beat_command(), stdout=log, stderr=log, env=clinic.environment, start_new_session=True
                )
        else:
            clinic.start(part)
        refused = eventually(
            lambda: [line for line in _lines(clinic.log(part)) if line["event"] == "redis.unavailable"]
        )
    assert refused[0]["kind"] == "wrong_password"
    _lines(clinic.log(part))


def test_part_that_cannot_start_says_so_in_one_line(deploy: Deploy, tmp_path: Path) -> None:
    missing = str(tmp_path / "absent.pem")
    with deploy("training", REDIS__URL="rediss://127.0.0.1/0", REDIS__CA_FILE=missing) as clinic:
        assert clinic.workers["training"].wait(60) == 2

    [line] = clinic.log("training").read_text(encoding="utf-8").splitlines()
    assert line.startswith("triage: the file of TRIAGE_REDIS__CA_FILE cannot be used")


def test_exporter_logs_its_start(deploy: Deploy, tmp_path: Path) -> None:
    port = free_port()
    with deploy() as clinic, (tmp_path / "metrics.log").open("wb") as log:
        command = [sys.executable, "-c", "from worker.cli import main; main()", "metrics", "--port", str(port)]
        exporter = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | clinic.environment)
        try:
            [started] = eventually(lambda: _lines(tmp_path / "metrics.log"))
            assert urlopen(f"http://127.0.0.1:{port}/metrics").status == 200
        finally:
            exporter.terminate()
            assert exporter.wait() == 0
    assert (started["event"], started["kind"], started["port"]) == ("part.started", "metrics", port)
    assert started["version"]
