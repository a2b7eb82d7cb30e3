"""The drain: claim and decode ahead, score, write behind, until the inbox is empty or the time is up.

The network never waits for a photo or a row: while it scores a batch, one thread claims, fetches and decodes the next
one, and another writes the one before. No more than these three are in memory.

After each batch of photos never tried, one photo that failed before goes alone, with nothing else in flight: if it was
the one that killed the process, it takes no other photo with it again, and its attempts run out by themselves.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from triage.domain.messages import Recorded
from triage.domain.photos import AssessedBatch
from triage.errors import ModelError, ServiceUnavailableError
from triage.scoring.ports import Assessor, Background, Inbox, Work


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """
    Attributes:
        photos_per_batch: claimed, scored and recorded together.
        seconds: after which nothing further is claimed, so that a worker can be stopped and its wake-ups stay fair.
    """

    photos_per_batch: int = 32
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did.

    Attributes:
        batches: how many of the inbox were scored and recorded.
        recorded: what they wrote.
        seconds: how long it took; `network_seconds` of it inside the network.
        unfinished: the time was up, with work perhaps left.
    """

    batches: int = 0
    recorded: Recorded = field(default_factory=Recorded)
    seconds: float = 0.0
    network_seconds: float = 0.0
    unfinished: bool = False


def drain(
    inbox: Inbox,
    live_assessor: Callable[[], Assessor],
    limits: DrainLimits,
    *,
    background: Background | None = None,
    on_batch: Callable[[int], object] = lambda _: None,
) -> Drained:
    """Works off the inbox, then background work, for which no message waits longer than one batch.

    Args:
        live_assessor: gives the assessor of the live model; asked before each claim, in another thread, so that a
            promotion is noticed between batches and nothing is claimed while no model can score it.
        on_batch: called with the number of photos of each claim that holds no retry, from the thread that claims.

    Raises:
        ModelError: there is no live model, or it cannot be loaded. Nothing stays claimed.
    """
    return _Drain(inbox, live_assessor, limits, background, on_batch).run()


class _Turn(Enum):
    RETRY = auto()  # of a photo that failed before


class _Drain:
    """One drain. The main thread runs the network; `_take` and what it calls run in the thread ahead."""

    def __init__(
        self,
        inbox: Inbox,
        live_assessor: Callable[[], Assessor],
        limits: DrainLimits,
        background: Background | None,
        on_batch: Callable[[int], object],
    ) -> None:
        self._inbox = inbox
        self._live_assessor = live_assessor
        self._limits = limits
        self._background = background
        self._on_batch = on_batch
        self._started = time.monotonic()
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._coming: Future[Work | _Turn | None] | None = None
        self._writing: Future[Recorded | None] | None = None
        self._put_aside: Work | None = None
        self._took_batch = False
        self._batches, self._recorded, self._network_seconds = 0, Recorded(), 0.0

    def run(self) -> Drained:
        with self._ahead, self._behind:
            try:
                is_empty = self._work()
                if self._put_aside is not None:
                    self._score(self._put_aside)
                    self._put_aside = None
                self._settle()
            except BaseException:
                self._give_back()
                raise
        seconds = time.monotonic() - self._started
        return Drained(self._batches, self._recorded, seconds, self._network_seconds, unfinished=not is_empty)

    def _work(self) -> bool:
        """True if nothing is left, False if the time is up."""
        self._look_ahead()
        while self._coming is not None:
            taken, self._coming = self._coming.result(), None
            if taken is _Turn.RETRY:
                self._settle()
                self._try_one_alone()
            elif isinstance(taken, Work):
                work = self._inbox_first(taken)
                self._look_ahead()
                self._score(work)
                continue
            elif self._writing is None:
                return True
            else:
                self._settle()  # what failed just now may be due again
            self._look_ahead()
        return False

    def _look_ahead(self) -> None:
        if time.monotonic() - self._started < self._limits.seconds and self._coming is None:
            self._coming = self._ahead.submit(self._take)

    def _take(self) -> Work | _Turn | None:
        """A batch, fetched and decoded; or whose turn it is; None where there is nothing to do."""
        if self._took_batch and self._inbox.has_retries():
            self._took_batch = False
            return _Turn.RETRY
        if fresh := self._take_fresh():
            return fresh
        if self._inbox.has_retries():
            return _Turn.RETRY
        if self._put_aside is not None:
            work, self._put_aside = self._put_aside, None
            return work
        return self._background.take() if self._background is not None else None

    def _take_fresh(self) -> Work | None:
        work = self._claim(self._limits.photos_per_batch, retry=False)
        self._took_batch = work is not None
        return work

    def _claim(self, limit: int, *, retry: bool) -> Work | None:
        assessor = self._live_assessor()
        claim = self._inbox.claim(limit, retry=retry)
        if claim is None:
            return None
        if not retry:
            self._on_batch(len(claim.attachments))
        release = partial(self._inbox.release, claim)
        try:
            score = assessor.prepare(claim.attachments)
        except BaseException:
            release()
            raise
        return Work(score, partial(self._inbox.record, claim), release)

    def _inbox_first(self, work: Work) -> Work:
        """Background work that was taken ahead is put aside when a message has come meanwhile."""
        if work.is_background and (fresh := self._take_fresh()):
            self._put_aside = work
            return fresh
        return work

    def _try_one_alone(self) -> None:
        if work := self._claim(1, retry=True):
            self._score(work)
            self._settle()

    def _score(self, work: Work) -> None:
        try:
            batch = work.score()
            self._settle()
        except BaseException as error:
            work.release()
            if isinstance(error, ModelError) and work.is_background:
                return
            raise
        if not work.is_background:
            self._batches += 1
            self._network_seconds += batch.network_seconds
        self._writing = self._behind.submit(_write, work, batch)

    def _settle(self) -> None:
        """Waits until the batch before is written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._recorded += writing.result() or Recorded()

    def _give_back(self) -> None:
        """What was taken and not scored goes back at once, not only when its lease runs out."""
        waiting = [self._put_aside]
        if self._coming is not None:
            with suppress(Exception):  # the error that ends the drain is told
                taken = self._coming.result()
                waiting += [taken] if isinstance(taken, Work) else []
        for work in filter(None, waiting):
            with suppress(Exception):  # Postgres may be what failed; the lease gives it back then
                work.release()


def _write(work: Work, batch: AssessedBatch) -> Recorded | None:
    """A batch that the database does not take is given back: no photo is to blame, so its attempt does not count."""
    try:
        return work.record(batch)
    except ServiceUnavailableError:
        with suppress(Exception):  # the error above is told; the lease gives the batch back then
            work.release()
        raise
