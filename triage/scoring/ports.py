"""What the pipeline needs from outside, as protocols: tests give it fakes, production Postgres and torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch


class Assessor(Protocol):
    """Turns claimed attachments into assessments by one model."""

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        """Fetches and decodes, and returns the call that scores; the two may be made in two threads.

        One attachment that fails never takes another with it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """A batch that was taken, fetched and decoded.

    Attributes:
        score: runs the network over it.
        record: writes what came of it.
        release: gives it back unscored.
        is_background: no message waits for it.
    """

    score: Callable[[], AssessedBatch]
    record: Callable[[AssessedBatch], Recorded | None]
    release: Callable[[], object]
    is_background: bool = False


class Inbox(Protocol):
    """The queue of record. Each call is one transaction; calls come from several threads."""

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        """Takes due attachments under a lease, or returns None where nothing is due."""
        ...

    def has_retries(self) -> bool:
        """Whether an attachment that failed before is due."""
        ...

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        """Writes results and decides messages that are complete; results whose lease was lost are refused."""
        ...

    def release(self, claim: Claim) -> int:
        """Gives back what was claimed and not worked on; the attempt does not count."""
        ...


class Background(Protocol):
    """Work that is taken up only while the inbox is empty, a batch at a time."""

    def take(self) -> Work | None:
        """The next batch, or None where there is none."""
        ...
