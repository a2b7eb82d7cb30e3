"""The drain: take a batch, score it, record it, until the inbox is empty or the time is up.

The network never waits for a photo or a row. While it scores one batch, a thread claims the next one, whose photos are
fetched and decoded, and another thread records the previous one. At most these three batches are in memory, and one of
background work that waits because a message has arrived.

On a GPU several batches are prepared at the same time, and scored in the order in which they are ready: a slow photo
holds up its own batch only, and the threads that decode always have work.

A photo that failed, or whose worker was lost, is tried alone, with nothing else in flight, after each batch of new
photos. If it was the photo that killed the process, it cannot take another photo with it again, and is parked.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from triage.domain.messages import Recorded
from triage.domain.photos import AssessedBatch
from triage.errors import ModelError, ServiceUnavailableError
from triage.scoring.batches import Assessor, Background, Batch, InboxBatch, Lane, Queue
from triage.timing import Timed, untimed


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """
    Attributes:
        photos_per_batch: claimed, scored and recorded together.
        batches_ahead: claimed and prepared at the same time, ahead of the batch that is scored.
        seconds: no batch is taken after this time, so that a worker stops promptly and wake-ups are shared fairly.
    """

    photos_per_batch: int
    seconds: float
    batches_ahead: int = 1


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did.

    Attributes:
        batches: batches of the inbox that were scored.
        recorded: what they wrote.
        seconds: duration of the drain.
        network_seconds: time spent inside the network for the inbox.
        unfinished: the time was up, so work may be left.
    """

    batches: int = 0
    recorded: Recorded = field(default_factory=Recorded)
    seconds: float = 0.0
    network_seconds: float = 0.0
    unfinished: bool = False


def drain(
    queue: Queue,
    live_assessor: Callable[[], Assessor],
    limits: DrainLimits,
    *,
    lane: Lane | None = None,
    background: Background | None = None,
    on_batch: Callable[[int], object] = lambda _: None,
    on_recorded: Callable[[Recorded], object] = lambda _: None,
    timed: Timed = untimed,
) -> Drained:
    """Scores the inbox, then background work. A message waits for at most one batch of background work.

    Before each batch comes one of the lane, if a photo waits there. So a photo of the lane waits for one batch at most,
    and the inbox for one of the lane.

    Args:
        live_assessor: returns the assessor of the live model. It is called before each claim, in another thread, so
            that a promotion takes effect between batches and nothing is claimed while no model can score it.
        lane: photos that overtake the inbox. It is called from this thread.
        on_batch: called with the number of photos of each claim of new photos, from the thread that claims.
        on_recorded: called with the counts of each batch, from the thread that records.
        timed: measures the stages `forward` and `write` of the inbox.

    Raises:
        ModelError: no model is live, or it cannot be loaded. No claim is kept.
    """
    return _Drain(queue, live_assessor, limits, lane, background, on_batch, on_recorded, timed).run()


class _Turn(Enum):
    RETRY = auto()  # a photo that failed or was lost before is due
    NOTHING = auto()  # no work is due


_Job: TypeAlias = Batch | _Turn


class _Drain:
    """One drain. The main thread runs the network; `_next_job` runs in the thread ahead of it.

    A batch is in `_coming` when it is taken, in `_waiting` while its photos are prepared, and in `_recording` at last.
    """

    def __init__(
        self,
        queue: Queue,
        live_assessor: Callable[[], Assessor],
        limits: DrainLimits,
        lane: Lane | None,
        background: Background | None,
        on_batch: Callable[[int], object],
        on_recorded: Callable[[Recorded], object],
        timed: Timed,
    ) -> None:
        self._queue = queue
        self._live_assessor = live_assessor
        self._limits = limits
        self._lane = lane
        self._background = background
        self._on_batch = on_batch
        self._on_recorded = on_recorded
        self._timed = timed
        self._started = time.monotonic()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._preparing = ThreadPoolExecutor(limits.batches_ahead, thread_name_prefix="prepare")
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._coming: Future[_Job] | None = None
        self._waiting: list[InboxBatch] = []
        self._recording: Future[Recorded] | None = None
        self._put_aside: Batch | None = None
        self._overtaking: Batch | None = None
        self._batches, self._recorded, self._network_seconds = 0, Recorded(), 0.0

    def run(self) -> Drained:
        is_empty = False
        with self._ahead, self._preparing, self._behind:
            try:
                for job in self._jobs_ahead():
                    if job is _Turn.RETRY:
                        self._score_alone()
                    elif job is not _Turn.NOTHING:
                        self._score(job)
                    elif self._recording is not None:
                        self._finish_recording()  # a photo that has just failed may be due again
                    else:
                        is_empty = True
                        break
                if batch := self._take_back():
                    self._score(batch)
                self._finish_recording()
            except BaseException:
                self._give_back()
                raise
        seconds = time.monotonic() - self._started
        return Drained(self._batches, self._recorded, seconds, self._network_seconds, unfinished=not is_empty)

    def _jobs_ahead(self) -> Iterator[_Job]:
        """Yields jobs until the time is up. While a batch is scored, the thread ahead takes the next job.

        A batch of the lane goes first: the next job stays where it is until that batch is scored.
        """
        jobs = self._next_job()
        self._take_ahead(jobs)
        while self._coming is not None or self._waiting:
            self._overtaking = self._lane.take() if self._lane is not None else None
            if self._overtaking is not None:
                yield self._overtaking
            job = self._first(jobs)
            if not isinstance(job, _Turn):
                job = self._inbox_first(job)
                self._take_ahead(jobs)
            yield job
            self._take_ahead(jobs)

    def _first(self, jobs: Iterator[_Job]) -> _Job:
        """Returns the first batch that is prepared; any other job only when no batch waits.

        Until then that job stays in `_coming`, so that nothing is claimed after it.
        """
        while True:
            coming = self._coming
            if coming is not None and (coming.done() or not self._waiting):
                job = coming.result()
                if isinstance(job, InboxBatch):
                    self._coming = None
                    self._waiting.append(job)
                    self._take_ahead(jobs)
                elif not self._waiting:
                    self._coming = None
                    return job
            for batch in self._waiting:
                if batch.prepared.done():
                    self._waiting.remove(batch)
                    return batch
            pending: list[Future[Any]] = [batch.prepared for batch in self._waiting]
            if self._coming is not None and not self._coming.done():
                pending.append(self._coming)
            wait(pending, return_when=FIRST_COMPLETED)

    def _next_job(self) -> Iterator[_Job]:
        """Yields without end: new photos, one retry after each batch of them, background work if neither is due."""
        while True:
            if new := self._claim(self._limits.photos_per_batch):
                yield new
            if self._queue.has_retries():
                yield _Turn.RETRY
            elif new is None:
                yield self._next_background() or _Turn.NOTHING

    def _take_ahead(self, jobs: Iterator[_Job]) -> None:
        has_room = self._coming is None and len(self._waiting) < self._limits.batches_ahead
        if has_room and time.monotonic() - self._started < self._limits.seconds:
            self._coming = self._ahead.submit(next, jobs)

    def _claim(self, limit: int, *, retry: bool = False) -> InboxBatch | None:
        assessor = self._live_assessor()
        claim = self._queue.claim(limit, retry=retry)
        if claim is None:
            return None
        try:
            if not retry:
                self._on_batch(len(claim.attachments))
            prepared = self._preparing.submit(assessor.prepare, claim.attachments)
            return InboxBatch(self._queue, claim, prepared, self._timed)
        except BaseException:
            self._queue.release(claim)
            raise

    def _next_background(self) -> Batch | None:
        if batch := self._take_back():
            return batch
        return self._background.take() if self._background is not None else None

    def _take_back(self) -> Batch | None:
        """Returns the batch that was put aside, if there is one."""
        batch, self._put_aside = self._put_aside, None
        return batch

    def _inbox_first(self, batch: Batch) -> Batch:
        """Puts background work aside if a message has arrived since it was taken."""
        if batch.is_background:
            self._put_aside = batch  # before the claim, so that the batch is released if the claim fails
            if new := self._claim(self._limits.photos_per_batch):
                return new
            self._put_aside = None
        return batch

    def _score_alone(self) -> None:
        """Tries a photo that failed or was lost before, with nothing else in flight."""
        self._finish_recording()
        if batch := self._claim(1, retry=True):
            self._score(batch)
            self._finish_recording()

    def _score(self, batch: Batch) -> None:
        try:
            assessed = batch.score()
            self._finish_recording()
        except BaseException as error:
            batch.release()
            if isinstance(error, ModelError) and batch.is_background:
                return
            raise
        if not batch.is_background and batch is not self._overtaking:
            self._batches += 1
            self._network_seconds += assessed.network_seconds
        self._recording = self._behind.submit(self._record, batch, assessed)

    def _record(self, batch: Batch, assessed: AssessedBatch) -> Recorded:
        """Runs in the thread behind. If the database is unavailable, the batch is released: no attempt counts."""
        try:
            recorded = batch.record(assessed)
        except ServiceUnavailableError:
            with suppress(Exception):  # the lease releases the batch later
                batch.release()
            raise
        self._on_recorded(recorded)
        return recorded

    def _finish_recording(self) -> None:
        if self._recording is not None:
            recording, self._recording = self._recording, None
            self._recorded += recording.result()

    def _give_back(self) -> None:
        """Releases what was taken and not scored now, before its lease expires."""
        taken: _Job | None = None
        if self._coming is not None:
            with suppress(BaseException):  # the error that ends the drain is raised instead
                taken = self._coming.result()
        # in this order: until it ends, the thread ahead may take the batch back that was put aside
        for job in (taken, *self._waiting, self._take_back()):
            if job is not None and not isinstance(job, _Turn):
                with suppress(BaseException):  # Postgres may be unavailable; the lease releases the batch later
                    job.release()
