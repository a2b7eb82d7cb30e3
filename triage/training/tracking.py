"""A copy of a training in MLflow: its settings, epochs, final evaluation and card, without paths or photos.

A thread sends it, and the training never waits for this thread: a server that is down, slow or refuses costs a warning.
Postgres has the epochs in any case; what the thread gets has been stored there under the lease of the run.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog

from triage.domain.card import Card
from triage.domain.runs import Run
from triage.training.config import INITIALISATIONS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

log = structlog.get_logger(__name__)

EXPERIMENT: Final = "skin-photo-triage"
RUN_TAG: Final = "triage.run_id"
"""Holds the id of the run, by which a resumed run finds its copy."""

Ending = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run of MLflow ends."""

_REQUEST_SECONDS: Final = 5
_LAST_TRIES: Final = 6
_PAUSE_SECONDS: Final = 5.0
"""After the end of a training, a server has half a minute to come back."""

_EPOCHS_PER_REQUEST: Final = 100
_EPOCH_METRICS: Final = (
    "train_loss",
    "validation_loss",
    "validation_auc",
    "learning_rate",
    "photos_per_second",
    "seconds",
)
_IN_EVERY_EPOCH: Final = "seconds"
_FINAL_METRICS: Final = ("auc", "sensitivity", "specificity", "ppv", "needless_retake_share")
_SERVED_ARTIFACTS: Final = "mlflow-artifacts:"
"""Artifacts that go through the server. Others would be written to a file system or a store from here."""

_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",  # it would print the texts of errors, which may have the URL
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_REQUEST_SECONDS),
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
"""How MLflow's client is configured: by variables alone, of which it reads some at its import."""


class Tracking:
    """Takes what is stored of a training; this one ignores it."""

    def update(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """
        Args:
            epochs: all finished ones, oldest first; must not change any more.
        """

    def end(self, status: Ending, card: Card | None = None) -> None:
        """The run has ended, with a model if there is a card."""

    def stop(self) -> None:
        """This worker no longer trains the run, which may go on elsewhere. Has no effect after `end`."""


@dataclass(frozen=True, slots=True)
class _End:
    status: Ending | None
    card: Card | None = None


class MlflowTracking(Tracking):
    """Sends a training to an MLflow server. No method waits or raises."""

    def __init__(self, uri: str, run: Run) -> None:
        """
        Args:
            uri: of the tracking server; may have a password.
            run: as claimed.
        """
        self._uri = uri
        self._run = run
        self._parameters = _parameters(run)
        self._epochs: Sequence[Mapping[str, Any]] = ()
        self._end: _End | None = None
        self._changed = threading.Event()
        self._is_logged = False
        self._copy: _Copy | None = None
        self._thread = threading.Thread(target=self._keep_sending, name="mlflow", daemon=True)
        self._thread.start()

    def update(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        self._epochs = epochs
        self._changed.set()

    def end(self, status: Ending, card: Card | None = None) -> None:
        self._end = self._end or _End(status, card)
        self._changed.set()

    def stop(self) -> None:
        self._end = self._end or _End(None)
        self._changed.set()

    def _keep_sending(self) -> None:
        tries_left = _LAST_TRIES
        while tries_left:
            self._changed.wait()
            self._changed.clear()
            end = self._end  # set after the last epochs
            if end is not None and end.status is None:
                return
            try:
                self._send(self._epochs, end)
            except Exception as error:  # of the client, the network or the server; its text may have the URL
                self._copy = None  # what the server has is not known: ask again
                if not self._is_logged:
                    log.warning("mlflow.unavailable", run_id=str(self._run.id), error_type=type(error).__name__)
                self._is_logged = True
                if end is not None:
                    tries_left -= 1
                    time.sleep(_PAUSE_SECONDS)
                    self._changed.set()
            else:
                if end is not None:
                    return

    def _send(self, epochs: Sequence[Mapping[str, Any]], end: _End | None) -> None:
        if self._copy is None:
            self._copy = _Copy.open(self._uri, self._run, self._parameters)
        self._copy.send_epochs(epochs)
        if end is not None and end.status is not None:
            if end.card is not None:
                self._copy.send_card(end.card)
            self._copy.client.set_terminated(self._copy.mlflow_run_id, end.status)


@dataclass(slots=True)
class _Copy:
    """The copy of a run on the server, and the numbers of the epochs that it has."""

    client: "MlflowClient"
    mlflow_run_id: str
    serves_artifacts: bool
    sent: set[int]

    @classmethod
    def open(cls, uri: str, run: Run, parameters: Mapping[str, str]) -> "_Copy":
        """Finds the copy, or creates it with its parameters."""
        os.environ.update(_ENVIRONMENT)
        from mlflow import MlflowClient  # deferred: an extra, and takes seconds
        from mlflow.entities import Param  # deferred: likewise

        client = MlflowClient(tracking_uri=uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
        found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{run.id}'", max_results=1)
        copy = (
            found[0]
            if found
            else client.create_run(experiment_id, tags={RUN_TAG: str(run.id)}, run_name=parameters.get("name"))
        )
        run_id = copy.info.run_id
        if copy.info.status != "RUNNING":
            client.update_run(run_id, status="RUNNING")
        if not copy.data.params:
            client.log_batch(run_id, params=[Param(name, value) for name, value in parameters.items()])
        sent = {metric.step for metric in client.get_metric_history(run_id, _IN_EVERY_EPOCH)}
        return cls(client, run_id, str(copy.info.artifact_uri).startswith(_SERVED_ARTIFACTS), sent)

    def send_epochs(self, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Sends those that the server lacks: an epoch that was trained again after a loss is there once."""
        missing = [epoch for epoch in epochs if epoch["number"] not in self.sent]
        for start in range(0, len(missing), _EPOCHS_PER_REQUEST):
            part = missing[start : start + _EPOCHS_PER_REQUEST]
            metrics = [
                metric
                for epoch in part
                for metric in _metrics({name: epoch.get(name) for name in _EPOCH_METRICS}, step=epoch["number"])
            ]
            self.client.log_batch(self.mlflow_run_id, metrics=metrics)
            self.sent |= {epoch["number"] for epoch in part}

    def send_card(self, card: Card) -> None:
        """Sends the evaluation of each split, and the card as `card.json` if the server stores artifacts."""
        final = {
            f"{split}_{name}": evaluation.get(name)
            for split, evaluation in card.metrics.items()
            for name in _FINAL_METRICS
        }
        self.client.log_batch(self.mlflow_run_id, metrics=_metrics(final, step=len(card.learning_curve)))
        self.client.set_tag(self.mlflow_run_id, "triage.weights_sha256", card.weights_sha256)
        if self.serves_artifacts:
            self.client.log_dict(self.mlflow_run_id, card.model_dump(mode="json"), "card.json")
        else:
            log.warning("mlflow.card_left_out", run_id=self.mlflow_run_id)


def track(uri: str | None, run: Run) -> Tracking:
    """Starts to send a run to the MLflow server at this URI, if there is one."""
    return Tracking() if uri is None else MlflowTracking(uri, run)


def _parameters(run: Run) -> dict[str, str]:
    """The settings of a run as text, without paths: those of the manifest and of initial weights may name people."""
    stored: dict[str, Any] = dict(run.parameters)
    found: dict[str, Any] = {}
    with suppress(KeyError, TypeError, ValueError):  # an invalid run fails before it trains
        found |= dict(stored["config"]) | {"name": stored["name"]}
        found["init"] = stored["init"] if stored["init"] in INITIALISATIONS else "file or model"
    return {name: str(value) for name, value in found.items()}


def _metrics(values: Mapping[str, Any], *, step: int) -> "list[Metric]":
    """Numbers as MLflow takes them; what is not known is left out."""
    from mlflow.entities import Metric  # deferred: an extra

    now = time.time_ns() // 1_000_000
    return [
        Metric(name, float(value), now, step)
        for name, value in values.items()
        if isinstance(value, float | int) and isfinite(value)
    ]
