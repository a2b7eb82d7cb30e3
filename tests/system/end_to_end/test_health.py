"""Health checks and metrics of a real worker that is stopped while it scores."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias
from urllib.request import urlopen

import pytest

from tests.support.deployment import Deployment, eventually
from worker.doctor.workers import check_workers
from worker.services import Services

Deploy: TypeAlias = Callable[..., AbstractContextManager[Deployment]]

STALLED = {  # which of them is seen first depends on whether a further task arrived before the worker stopped
    "triage: photos are pending and none is being scored\n",
    "triage: the scoring worker has tasks and runs none\n",
}


def test_worker_is_unhealthy_while_stopped_and_healthy_after_it_continues(
    deploy: Deploy, jpeg: Callable[..., bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with deploy("scoring", lease_seconds=3600, METRICS__WORKER_PORT=str(port)) as clinic:
        clinic.send("m-1", *(jpeg(seed) for seed in range(12)))
        eventually(lambda: clinic.query("SELECT 1 FROM attachment WHERE status = 'in_progress'"))
        child = clinic.child("scoring")
        assert child is not None
        os.kill(child.pid, signal.SIGSTOP)
        try:
            assert eventually(lambda: _complaint(clinic)) in STALLED
        finally:
            os.kill(child.pid, signal.SIGCONT)

        assert eventually(lambda: clinic.outcome("m-1")) == "retake"
        assert _complaint(clinic) == ""
        text = eventually(lambda: _scrape_with(port, 'triage_photos_total{outcome="scored"} 12.0'))
        for stage in ("fetch", "decode", "findings", "forward", "write"):
            assert f'triage_stage_seconds_count{{stage="{stage}"}}' in text
            assert f'triage_stage_seconds_count{{stage="{stage}"}} 0.0' not in text
        assert "triage_batch_fill_count" in text
        assert "triage_model_loaded{device=" in text


def test_doctor_finds_a_worker_that_answers_the_second_ping(
    deploy: Deploy, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deploy("scoring") as clinic:
        eventually(lambda: services.celery.control.ping(timeout=1.0))
        worker, ping = clinic.workers["scoring"].pid, services.celery.control.ping
        answers: list[object] = []

        def ping_and_continue(**_: float) -> object:
            answers.append(ping(timeout=10.0 if answers else 0.5))
            os.kill(worker, signal.SIGCONT)
            return answers[-1]

        monkeypatch.setattr(services.celery.control, "ping", ping_and_continue)
        os.kill(worker, signal.SIGSTOP)
        try:
            assert check_workers(services.celery, unused=("intake", "training", "delivery")) == "scoring"
        finally:
            os.kill(worker, signal.SIGCONT)
        assert answers[0] == []


def _complaint(clinic: Deployment) -> str:
    command = [sys.executable, "-c", "from worker.cli import main; main()", "health", "scoring", "--stall-seconds", "2"]
    done = subprocess.run(command, env=clinic.environment, capture_output=True, text=True)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr


def _scrape_with(port: int, line: str) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
    return text if line in text else ""
