"""The drain, over an inbox in memory; the real one is held to the same in tests/integration."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event

import pytest

from tests.support.assessor import SimpleAssessor
from triage.domain.ids import AttachmentId, LeaseToken, ModelVersionId, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable
from triage.errors import ErrorCode, ModelError, ServiceUnavailableError
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.ports import Work

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

    def has_retries(self) -> bool:
        return bool(self.retries)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        self.recorded += [item.id for item in batch.assessments]
        return Recorded(not_assessable=len(batch.assessments))

    def release(self, claim: Claim) -> int:
        self.released += len(claim.attachments)
        return len(claim.attachments)


class Refuser(SimpleAssessor):
    """Assesses without a network."""

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        results = [NotAssessable(attachment.id, ErrorCode.EMPTY) for attachment in attachments]
        return AssessedBatch(MODEL, 0.5, results, network_seconds=0.25)


class BrokenModel(SimpleAssessor):
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


def test_size_of_each_batch_is_reported() -> None:
    sizes: list[int] = []

    drain(MemoryInbox(_attachments(7)), Refuser, LIMITS, on_batch=sizes.append)

    assert sizes == [3, 3, 1]


@dataclass
class Chunks:
    """Background work."""

    left: int
    on_score: Callable[[], object]
    released: int = 0

    def take(self) -> Work | None:
        if not self.left:
            return None
        self.left -= 1
        return Work(self._score, lambda _: None, self._release, is_background=True)

    def _score(self) -> AssessedBatch:
        self.on_score()
        return AssessedBatch(MODEL, 0.5, [])

    def _release(self) -> None:
        self.released += 1


def test_background_work_waits_for_the_inbox() -> None:
    inbox = MemoryInbox(_attachments(4))
    order: list[str] = []

    class Noted(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            order.append("inbox")
            return super().assess(attachments)

    def one_arrives() -> None:
        if "chunk" not in order:
            inbox.fresh += _attachments(2)  # while a chunk is scored, and the next one was taken ahead
        order.append("chunk")

    chunks = Chunks(3, one_arrives)
    drained = drain(inbox, Noted, LIMITS, background=chunks)

    assert order == ["inbox", "inbox", "chunk", "inbox", "chunk", "chunk"]
    assert (drained.recorded.not_assessable, drained.batches, chunks.released) == (6, 3, 0)


def test_broken_model_of_background_work_stops_nobody_else() -> None:
    inbox = MemoryInbox(_attachments(1))

    def broken() -> None:
        raise ModelError("the weights are gone")

    chunks = Chunks(2, broken)
    drained = drain(inbox, Refuser, LIMITS, background=chunks)

    assert (drained.recorded.not_assessable, drained.unfinished, chunks.released) == (1, False, 2)


def test_next_batch_is_prepared_and_the_last_one_written_while_one_is_scored() -> None:
    """Each stage waits for another one to be under way, which a pipeline without overlap would do for ever."""
    inbox = MemoryInbox(_attachments(9))
    prepared, writing = [Event() for _ in range(3)], [Event() for _ in range(3)]
    n_prepared = count()

    class Overlapped(Refuser):
        def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
            number = next(n_prepared)
            prepared[number].set()
            return partial(self._score, number, attachments)

        def _score(self, number: int, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if number < 2:
                assert prepared[number + 1].wait(60)
            if number > 0:
                assert writing[number - 1].wait(60)
            return self.assess(attachments)

    class Watched(MemoryInbox):
        def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
            writing[len(self.recorded) // 3].set()
            return super().record(claim, batch)

    watched = Watched(inbox.fresh)
    assert drain(watched, Overlapped, LIMITS).recorded.not_assessable == 9


def test_no_more_than_three_batches_are_held_at_once() -> None:
    inbox = MemoryInbox(_attachments(30))
    held: list[int] = []

    class Counting(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            time.sleep(0.01)  # time enough for a greedy one to claim more
            held.append(30 - len(inbox.fresh) - len(inbox.recorded))
            return super().assess(attachments)

    drain(inbox, Counting, LIMITS)

    assert max(held) <= 9


def test_all_that_was_taken_is_given_back_when_postgres_is_away() -> None:
    class Failing(MemoryInbox):
        def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
            raise ServiceUnavailableError("Postgres does not answer")

    inbox = Failing(_attachments(9))

    with pytest.raises(ServiceUnavailableError):
        drain(inbox, Refuser, LIMITS)

    assert inbox.released == 9 - len(inbox.fresh)  # the batch that could not be written, too: no photo is to blame


def test_photo_that_failed_before_is_alone_in_flight() -> None:
    inbox = MemoryInbox(_attachments(6), _attachments(1))
    others: list[int] = []

    class Alone(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if len(attachments) == 1:
                others.append(7 - len(inbox.fresh) - len(inbox.retries) - len(inbox.recorded) - 1)
            return super().assess(attachments)

    drain(inbox, Alone, LIMITS)

    assert others == [0]
