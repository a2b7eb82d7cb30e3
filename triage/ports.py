"""What the pipeline needs from outside, as protocols: tests give it fakes, production Postgres and torch."""

from collections.abc import Sequence
from typing import Protocol

from triage.domain import AssessedBatch, Claim, ClaimedAttachment, Recorded


class Assessor(Protocol):
    """Turns claimed attachments into assessments by one model: fetch, decode, score."""

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        """Assesses each attachment, in any order. One that fails never takes another with it."""
        ...


class Inbox(Protocol):
    """The queue of record. Each call is one transaction."""

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        """Takes due attachments under a lease, or returns None where nothing is due."""
        ...

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        """Writes results and decides messages that are complete; results whose lease was lost are refused."""
        ...

    def release(self, claim: Claim) -> int:
        """Gives back what was claimed and not worked on; the attempt does not count."""
        ...


class Background(Protocol):
    """Work that is taken up only while the inbox is empty, a batch at a time."""

    def step(self) -> bool:
        """Does one batch, and returns whether there was one."""
        ...
