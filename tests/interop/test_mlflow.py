"""Trainings in a real MLflow server, from its wheel in an environment of its own."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from tests.support.deployment import eventually
from tests.support.tracked_training import EPOCHS, PATIENT, queue_training, train_queued
from triage.domain.ids import RunId
from triage.domain.states import RunStatus
from triage.runs import find_run
from triage.storage import model_versions, runs
from triage.training import tracking
from worker.services import Services

pytestmark = pytest.mark.long

SERVER_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}

MLFLOW = Path(__file__).parents[2] / ".venv" / "mlflow" / "bin" / "mlflow"


class Server:
    """An MLflow server that can be stopped and started again at its port, with its data."""

    def __init__(self, folder: Path, backend: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self._command = [
            *(str(MLFLOW), "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, **SERVER_ENVIRONMENT},
                start_new_session=True,
            )
        assert eventually(self._is_up, wait_seconds=600)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None

    def copy_of(self, run_id: RunId) -> MlflowRun | None:
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
        if experiment is None:
            return None
        found = client.search_runs([experiment.experiment_id], f"tags.`{tracking.RUN_TAG}` = '{run_id}'")
        assert len(found) <= 1
        return found[0] if found else None

    def has_ended(self, run_id: RunId, status: str) -> MlflowRun | None:
        copy = self.copy_of(run_id)
        return copy if copy is not None and copy.info.status == status else None

    def _is_up(self) -> bool:
        try:
            with urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except URLError:
            return False


@pytest.fixture(scope="module", params=["sqlite:///mlflow.db", "files"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not MLFLOW.exists():
        pytest.skip("MLflow's server is missing: `make test-interop` installs it")
    found = Server(tmp_path_factory.mktemp("mlflow"), request.param)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def _steps(server: Server, copy: MlflowRun, name: str = "train_loss") -> list[int]:
    return sorted(metric.step for metric in MlflowClient(server.uri).get_metric_history(copy.info.run_id, name))


def test_server_has_the_settings_epochs_evaluation_and_card_of_a_training(
    server: Server, services: Services, tmp_path: Path, jpeg: Callable[..., bytes], model_folder: Path
) -> None:
    run_id = queue_training(services, tmp_path, jpeg, model_folder)

    run = train_queued(services, run_id, tmp_path, server.uri)

    copy = eventually(lambda: server.has_ended(run_id, "FINISHED"))
    assert copy is not None
    assert copy.info.run_name == copy.data.params["name"] == "ours"
    assert copy.data.params["epochs"] == str(EPOCHS)
    for name in ("train_loss", "validation_loss", "learning_rate", "photos_per_second", "seconds"):
        assert _steps(server, copy, name) == [1, 2, 3, EPOCHS]
        assert copy.data.metrics[name] == run.epochs[-1][name]
    with services.sessions() as session:
        card = model_versions.find(session, "ours").card
    assert copy.data.metrics["train_sensitivity"] == card.metrics["train"]["sensitivity"]
    assert copy.data.tags["triage.weights_sha256"] == card.weights_sha256
    stored = MlflowClient(server.uri).download_artifacts(copy.info.run_id, "card.json", str(tmp_path))
    assert json.loads(Path(stored).read_text()) == card.model_dump(mode="json")
    for file in server.folder.rglob("*"):
        assert PATIENT not in str(file)
        assert not file.is_file() or PATIENT.encode() not in file.read_bytes()


def test_resumed_training_goes_on_in_the_same_copy_without_doubling_an_epoch(
    server: Server, services: Services, tmp_path: Path, jpeg: Callable[..., bytes], model_folder: Path
) -> None:
    run_id = queue_training(services, tmp_path, jpeg, model_folder)

    def fail_once_two_epochs_are_sent() -> None:
        copy = server.copy_of(run_id)
        if copy is not None and _steps(server, copy)[1:]:
            raise SystemExit

    with pytest.raises(SystemExit):
        train_queued(services, run_id, tmp_path, server.uri, on_progress=fail_once_two_epochs_are_sent)
    shutil.rmtree(tmp_path / "runs")  # the checkpoint, too: every epoch is trained again
    with services.sessions.begin() as session:
        assert runs.find(session, run_id).status is RunStatus.RUNNING
        session.connection().exec_driver_sql("UPDATE run SET lease_until = now()")

    run = train_queued(services, run_id, tmp_path, server.uri)

    copy = eventually(lambda: server.has_ended(run_id, "FINISHED"))
    assert copy is not None
    assert len(run.epochs) == EPOCHS
    assert _steps(server, copy) == [1, 2, 3, EPOCHS]


def test_epochs_are_sent_later_when_the_server_was_down(
    server: Server, services: Services, tmp_path: Path, jpeg: Callable[..., bytes], model_folder: Path
) -> None:
    run_id = queue_training(services, tmp_path, jpeg, model_folder)
    server.stop()
    is_started = False

    def start_after_two_epochs() -> None:
        nonlocal is_started
        if not is_started and len(find_run(services.sessions, run_id).epochs) == 2:
            server.start()
            is_started = True

    train_queued(services, run_id, tmp_path, server.uri, on_progress=start_after_two_epochs)

    copy = eventually(lambda: server.has_ended(run_id, "FINISHED"))
    assert copy is not None
    assert _steps(server, copy) == [1, 2, 3, EPOCHS]
