"""Batches of photos, and what the drain needs to take, score and record them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch
from triage.timing import Timed, untimed


class Assessor(Protocol):
    """Assesses claimed attachments with one model."""

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        """Fetches and decodes, and returns the call that scores. The two may run in different threads.

        An attachment that fails never fails another one.

        Raises:
            ServiceUnavailableError: the store of all photos is unavailable.
        """
        ...


class Queue(Protocol):
    """The queue of record. Each call is one transaction; calls come from several threads."""

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        """Claims due attachments under a lease; None if none is due."""
        ...

    def has_retries(self) -> bool:
        """Whether an attachment that failed or was lost before is due."""
        ...

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        """Writes results and decides complete messages. Results under a lost lease are refused."""
        ...

    def release(self, claim: Claim) -> int:
        """Releases a claim without counting the attempt."""
        ...


class Batch(Protocol):
    """Photos that were taken together."""

    @property
    def is_background(self) -> bool:
        """Whether no message waits for the batch."""
        ...

    def score(self) -> AssessedBatch:
        """Runs the network, after the photos are fetched and decoded."""
        ...

    def record(self, assessed: AssessedBatch) -> Recorded:
        """Writes the results."""
        ...

    def release(self) -> None:
        """Gives the batch back without results."""
        ...


class Lane(Protocol):
    """Photos that somebody waits for, which overtake the inbox."""

    def take(self) -> Batch | None:
        """Returns the next batch, with its photos decoded, or None if there is none."""
        ...


class Background(Protocol):
    """Work that is done while the inbox is empty, one batch at a time."""

    def take(self) -> Batch | None:
        """Returns the next batch, or None if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class InboxBatch:
    """A claim of the inbox. `prepared` gives the call that scores it, once its photos are fetched and decoded."""

    queue: Queue
    claim: Claim
    prepared: Future[Callable[[], AssessedBatch]]
    timed: Timed = untimed
    is_background: bool = False

    def score(self) -> AssessedBatch:
        assess = self.prepared.result()
        with self.timed("forward"):
            return assess()

    def record(self, assessed: AssessedBatch) -> Recorded:
        with self.timed("write"):
            return self.queue.record(self.claim, assessed)

    def release(self) -> None:
        self.queue.release(self.claim)
