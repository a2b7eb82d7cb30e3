"""The drain, over an inbox in memory; the real one is held to the same in tests/integration."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from triage.domain import (
    AssessedBatch,
    AttachmentId,
    Claim,
    ClaimedAttachment,
    LeaseToken,
    ModelVersionId,
    NotAssessable,
    Recorded,
    new_id,
)
from triage.errors import ErrorCode, ModelError
from triage.pipeline import DrainLimits, drain

MODEL = ModelVersionId(new_id())
LIMITS = DrainLimits(photos_per_batch=3, seconds=60)


def _attachments(n: int) -> list[ClaimedAttachment]:
    return [ClaimedAttachment(AttachmentId(new_id()), None, None, 1) for _ in range(n)]


@dataclass
class MemoryInbox:
    fresh: list[ClaimedAttachment] = field(default_factory=list)
    retries: list[ClaimedAttachment] = field(default_factory=list)
    claims: list[tuple[str, int]] = field(default_factory=list)
    recorded: list[AttachmentId] = field(default_factory=list)
    released: int = 0

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        queue = self.retries if retry else self.fresh
        taken, queue[:] = queue[:limit], queue[limit:]
        if not taken:
            return None
        self.claims.append(("retry" if retry else "fresh", len(taken)))
        return Claim(LeaseToken(new_id()), taken)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        self.recorded += [item.id for item in batch.assessments]
        return Recorded(not_assessable=len(batch.assessments))

    def release(self, claim: Claim) -> int:
        self.released += len(claim.attachments)
        return len(claim.attachments)


class Refuser:
    """Assesses without a network."""

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        results = [NotAssessable(attachment.id, ErrorCode.EMPTY) for attachment in attachments]
        return AssessedBatch(MODEL, 0.5, results, network_seconds=0.25)


class BrokenModel:
    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        raise ModelError("the weights are gone")


def test_drain_ends_when_the_inbox_is_empty() -> None:
    inbox = MemoryInbox(_attachments(7))
    waiting = [attachment.id for attachment in inbox.fresh]

    drained = drain(inbox, Refuser, LIMITS)

    assert inbox.recorded == waiting
    assert inbox.claims == [("fresh", 3), ("fresh", 3), ("fresh", 1)]
    assert (drained.batches, drained.recorded.not_assessable, drained.unfinished) == (3, 7, False)
    assert drained.network_seconds == 0.75


def test_photo_that_failed_before_goes_alone_after_each_batch() -> None:
    inbox = MemoryInbox(_attachments(6), _attachments(2))

    drain(inbox, Refuser, LIMITS)

    assert inbox.claims == [("fresh", 3), ("retry", 1), ("fresh", 3), ("retry", 1)]


def test_nothing_begins_when_the_time_is_up() -> None:
    inbox = MemoryInbox(_attachments(3))

    drained = drain(inbox, Refuser, DrainLimits(photos_per_batch=3, seconds=0))

    assert drained.unfinished
    assert inbox.claims == []


def test_claim_is_given_back_when_the_model_is_broken() -> None:
    inbox = MemoryInbox(_attachments(3))

    with pytest.raises(ModelError):
        drain(inbox, BrokenModel, LIMITS)

    assert (inbox.released, inbox.recorded) == (3, [])


def test_nothing_is_claimed_when_there_is_no_model() -> None:
    inbox = MemoryInbox(_attachments(3))

    def no_model() -> Refuser:
        raise ModelError("no model is live")

    with pytest.raises(ModelError):
        drain(inbox, no_model, LIMITS)

    assert inbox.claims == []


def test_promotion_is_noticed_between_two_batches() -> None:
    inbox = MemoryInbox(_attachments(6))
    asked: list[int] = []

    def live() -> Refuser:
        asked.append(len(inbox.claims))
        return Refuser()

    drain(inbox, live, LIMITS)

    assert {0, 1, 2} <= set(asked)


def test_further_worker_is_woken_when_a_batch_is_full() -> None:
    woken: list[int] = []

    drain(MemoryInbox(_attachments(7)), Refuser, LIMITS, on_full_batch=lambda: woken.append(1))

    assert len(woken) == 2


def test_background_work_waits_for_the_inbox() -> None:
    inbox = MemoryInbox(_attachments(4))
    steps: list[int] = []

    class Background:
        def step(self) -> bool:
            steps.append(len(inbox.recorded))
            if len(steps) == 1:
                inbox.fresh += _attachments(2)  # arrive while the background is at work
            return len(steps) < 3

    drain(inbox, Refuser, LIMITS, background=Background())

    assert steps == [4, 6, 6]
