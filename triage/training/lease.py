"""The lease of a training run: extended by a background thread, which also stores the run's progress."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from math import isfinite
from typing import Any, Final, Self

import structlog

from triage.domain.ids import LeaseToken
from triage.domain.runs import Run
from triage.domain.states import RunStatus
from triage.errors import LeaseLostError, ServiceUnavailableError
from triage.storage import runs
from triage.storage.database import Sessions, database_errors
from triage.storage.locks import HeldLock
from triage.training.progress import Progress

log = structlog.get_logger(__name__)

_MOST_FREQUENT_SECONDS: Final = 1.0
"""Between two heartbeats, even if epochs are shorter."""


class TrainingLease:
    """Keeps the lease of a claimed run while the block runs.

    A background thread extends the lease five times within its duration, and soon after each epoch, and checks the lock
    on the device. If either is lost, the next call of `check` or `report` raises, which ends the training at its next
    batch. All progress is stored together with an extension, so a worker that has lost the lease stores none.
    """

    def __init__(
        self,
        sessions: Sessions,
        run: Run,
        token: LeaseToken,
        duration: timedelta,
        *,
        device_lock: HeldLock,
        max_epochs: int,
        on_stored: Callable[[Sequence[Mapping[str, Any]]], object] = lambda _: None,
    ) -> None:
        """
        Args:
            run: as claimed; the progress of an earlier attempt is kept.
            token: from the claim.
            duration: how long the lease lasts without a heartbeat.
            device_lock: held; acquired again if its connection is lost.
            max_epochs: for the estimate of the time left.
            on_stored: called with the finished epochs once they are stored under the lease; must not raise or wait.
        """
        self.progress: dict[str, Any] = {"stage": "starting", "epoch": 0, "done": 0.0, "epochs": []} | dict(
            run.progress
        )
        self._sessions = sessions
        self._run = run
        self._token = token
        self._duration = duration
        self._device_lock = device_lock
        self._max_epochs = max_epochs
        self._on_stored = on_stored
        self._n_epochs_before = self._n_epochs()
        self._stop = threading.Event()
        self._epoch_ended = threading.Event()
        self._lost: LeaseLostError | None = None
        self._thread = threading.Thread(target=self._keep_extending, name="training-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._epoch_ended.set()  # ends its wait
        self._thread.join()

    def check(self) -> None:
        """
        Raises:
            LeaseLostError: another worker holds the run or the device, or the run was cancelled.
        """
        if self._lost is not None:
            raise self._lost

    def report(self, progress: Progress) -> None:
        """Keeps the progress for the next heartbeat, which stores it and follows soon if an epoch has ended.

        Raises:
            LeaseLostError: as `check`.
        """
        self.check()
        changes = {name: value for name, value in asdict(progress).items() if value is not None}
        if "epochs" in changes:
            changes["epochs"] = [_storable(epoch) for epoch in changes["epochs"]]
        updated = self.progress | changes
        if progress.stage == "training":
            updated["seconds_left"] = self._seconds_left(updated)
        elif progress.stage == "evaluating":
            updated["seconds_left"] = None
        self.progress = updated  # replaced, never changed: the other thread may be reading the old one
        if "epochs" in changes:
            self._epoch_ended.set()

    def finish(self, status: RunStatus, *, error: str | None = None, **progress: object) -> None:
        """Ends the run with these last fields of its progress.

        Raises:
            LeaseLostError: another worker holds the run, or it was cancelled.
        """
        with self._sessions.begin() as session:
            runs.finish(session, self._run.id, self._token, status, progress=self.progress | progress, error=error)
        self._on_stored(self.progress["epochs"])

    def _keep_extending(self) -> None:
        interval = self._duration.total_seconds() / 5
        pause = min(interval, _MOST_FREQUENT_SECONDS)
        while not self._stop.wait(pause):
            self._epoch_ended.wait(interval - pause)
            self._epoch_ended.clear()
            if self._stop.is_set():
                return
            try:
                with database_errors():
                    progress = self.progress
                    with self._sessions.begin() as session:
                        runs.beat(
                            session,
                            self._run.id,
                            self._token,
                            lease=self._duration,
                            progress=progress,
                            made_progress=self._n_epochs() > self._n_epochs_before,
                        )
                    self._on_stored(progress["epochs"])
                    if not self._device_lock.take_again():
                        self._lost = LeaseLostError("another run trains on this device: this run stops")
                        return
            except LeaseLostError as error:
                self._lost = error
                return
            except ServiceUnavailableError as error:  # the lease may last until Postgres is back
                log.warning("service.unavailable", error_type=type(error).__name__, kind=error.kind)

    def _n_epochs(self) -> int:
        return len(self.progress["epochs"])

    def _seconds_left(self, progress: Mapping[str, Any]) -> float | None:
        """An upper bound: early stopping may end the training sooner. None before the first batch."""
        epochs: list[Mapping[str, Any]] = progress["epochs"]
        if epochs:
            seconds = sum(float(epoch["seconds"]) for epoch in epochs) / len(epochs)
        elif rate := progress.get("photos_per_second"):
            seconds = progress["of_photos"] / rate
        else:
            return None
        n_done: float = max(len(epochs), progress["epoch"] - 1 + progress["done"])
        return max(seconds * (self._max_epochs - n_done), 0.0)


def _storable(epoch: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no number for the loss of a training that diverges: None."""
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in epoch.items()}
