"""The heart of a training run: keeps its lease from a thread of its own, and tells how far the run is."""

import threading
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Self

import structlog

from triage.domain.ids import LeaseToken
from triage.domain.runs import Run
from triage.domain.states import RunStatus
from triage.errors import LeaseLostError, ServiceUnavailableError
from triage.storage import runs
from triage.storage.database import Sessions, database_errors
from triage.storage.locks import HeldLock
from triage.training.checkpoint import TrainingState

log = structlog.get_logger(__name__)


class Heart:
    """Beats until the block ends. A training that lost its lease or its device hears of it at its next batch."""

    def __init__(
        self, sessions: Sessions, run: Run, token: LeaseToken, lease: timedelta, *, device: HeldLock, epochs: int
    ) -> None:
        """
        Args:
            device: the lock on the device; made sure of at every beat.
            epochs: at most so many, for the time left.
        """
        self.progress: dict[str, Any] = {"stage": "starting", "epoch": 0, "done": 0.0, "epochs": []} | dict(
            run.progress
        )
        self._sessions = sessions
        self._run = run
        self._token = token
        self._lease = lease
        self._device = device
        self._max_epochs = epochs
        self._n_epochs_before = self._n_epochs()
        self._stop = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._keep_beating, name="heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run or the device, or the run was cancelled.
        """
        if self._lost is not None:
            raise self._lost

    def on_photos(self, done: int, total: int) -> None:
        self._tell(stage="reading photos", photos=done, of_photos=total)

    def on_batch(self, epoch: int, share: float) -> None:
        self._tell(stage="training", epoch=epoch, done=share, seconds_left=self._seconds_left(share))

    def on_epoch(self, state: TrainingState) -> None:
        self._tell(epochs=[asdict(epoch) for epoch in state.epochs])

    def on_evaluation(self) -> None:
        self._tell(stage="evaluating", seconds_left=None)

    def finish(self, status: RunStatus, *, error: str | None = None, **progress: object) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run, or it was cancelled.
        """
        with self._sessions.begin() as session:
            runs.finish(session, self._run.id, self._token, status, progress=self.progress | progress, error=error)

    def _tell(self, **progress: object) -> None:
        self.check()
        self.progress = self.progress | progress  # a new one each time: the other thread may be reading the old one

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._lease.total_seconds() / 5):
            try:
                with database_errors():
                    with self._sessions.begin() as session:
                        runs.beat(
                            session,
                            self._run.id,
                            self._token,
                            lease=self._lease,
                            progress=self.progress,
                            gets_on=self._n_epochs() > self._n_epochs_before,
                        )
                    if not self._device.take_again():
                        self._lost = LeaseLostError("another run trains on this device now: this one stops")
                        return
            except LeaseLostError as error:
                self._lost = error
                return
            except ServiceUnavailableError as error:  # the lease may last until Postgres is back
                log.warning("postgres.unavailable", error_type=type(error).__name__)

    def _n_epochs(self) -> int:
        return len(self.progress["epochs"])

    def _seconds_left(self, share: float) -> float | None:
        """At most: early stopping may end the training sooner. None before the first epoch is done."""
        epochs: list[Mapping[str, Any]] = self.progress["epochs"]
        if not epochs:
            return None
        seconds = sum(float(epoch["seconds"]) for epoch in epochs) / len(epochs)
        return seconds * (self._max_epochs - len(epochs) - share)
