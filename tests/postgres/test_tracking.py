"""Trainings whose MLflow server fails: each fault costs one warning and nothing else."""

import re
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from structlog.testing import capture_logs
from werkzeug import Request, Response

from tests.support.deployment import eventually
from tests.support.tracked_training import EPOCHS, PATIENT, queue_training, train_queued
from triage.domain.ids import RunId, new_id
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus
from triage.training import tracking
from triage.training.tracking import MlflowTracking
from worker.services import Services

PASSWORD = "open-sesame"

FAULTS: dict[str, Callable[[Request], Response]] = {
    "refused": lambda _: Response("no", 403),
    "broken": lambda _: Response(f"down: {PASSWORD}", 500),
    "malformed": lambda _: Response("<html>", 200),
    "elsewhere": lambda _: Response("", 302, headers={"Location": "http://127.0.0.1:1/"}),
}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_PAUSE_SECONDS", 0.0)


def _run() -> Run:
    now = datetime.now(UTC)
    parameters: dict[str, Any] = {"name": "ours", "init": "starter", "config": {"epochs": 3}}
    return Run(RunId(new_id()), RunKind.TRAINING, RunStatus.RUNNING, parameters, {}, 1, None, now, now, now, None)


def _send(uri: str) -> list[dict[str, Any]]:
    """Sends an epoch and the end of a training, and returns what was logged once the sender has given up."""
    with capture_logs() as logs:
        sender = MlflowTracking(uri, _run())
        sender.update([{"number": 1, "train_loss": 0.5, "seconds": 1.0}])
        sender.end("FINISHED")
        eventually(lambda: not sender._thread.is_alive())
    return [dict(log) for log in logs]


@pytest.mark.parametrize("fault", FAULTS)
def test_sender_logs_one_warning_and_gives_up_when_the_server_fails(
    httpserver: HTTPServer, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    httpserver.expect_request(re.compile("/.*")).respond_with_handler(FAULTS[fault])

    logs = _send(httpserver.url_for("").replace("http://", f"http://user:{PASSWORD}@"))

    assert len(httpserver.log) >= tracking._LAST_TRIES
    assert [(log["event"], log["log_level"]) for log in logs] == [("mlflow.unavailable", "warning")]
    assert PASSWORD not in str(logs)
    assert PASSWORD not in "".join(capfd.readouterr())


def test_sender_gives_up_when_no_server_listens() -> None:
    assert [log["error_type"] for log in _send("http://127.0.0.1:1")] == ["MlflowException"]


def test_training_ends_while_the_server_does_not_answer(
    services: Services,
    tmp_path: Path,
    jpeg: Callable[..., bytes],
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(tracking._ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "3600")  # a training that waits hangs
    run_id = queue_training(services, tmp_path, jpeg, model_folder)
    with socket.create_server(("127.0.0.1", 0)) as server:  # the kernel accepts connections, nobody answers
        run = train_queued(services, run_id, tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")

        assert (run.status, run.error, len(run.epochs)) == (RunStatus.DONE, None, EPOCHS)
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100).startswith(b"GET /api/2.0/mlflow/")
    for thread in threading.enumerate():
        if thread.name == "mlflow":
            thread.join()


def test_parameters_have_no_paths() -> None:
    run = replace(_run(), parameters={**_run().parameters, "manifest": f"/{PATIENT}.csv", "init": f"/{PATIENT}.pth"})

    assert tracking._parameters(run) == {"epochs": "3", "name": "ours", "init": "file or model"}
    assert tracking._parameters(_run())["init"] == "starter"
    assert tracking._parameters(replace(run, parameters={})) == {}
