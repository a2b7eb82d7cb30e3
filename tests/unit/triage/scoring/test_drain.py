"""The drain over an inbox in memory; tests/postgres has the same checks with Postgres."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from threading import Event, Lock

import pytest

from tests.support.assessor import SimpleAssessor
from triage.domain.ids import AttachmentId, LeaseToken, ModelVersionId, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable
from triage.errors import ErrorCode, ModelError, ServiceUnavailableError
from triage.scoring.drain import DrainLimits, drain

MODEL = ModelVersionId(new_id())
LIMITS = DrainLimits(photos_per_batch=3, seconds=60)


def _attachments(n: int) -> list[ClaimedAttachment]:
    return [ClaimedAttachment(AttachmentId(new_id()), None, None) for _ in range(n)]


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


def test_retry_runs_alone_after_each_batch_of_new_photos() -> None:
    inbox = MemoryInbox(_attachments(6), _attachments(2))

    drain(inbox, Refuser, LIMITS)

    assert inbox.claims == [("fresh", 3), ("retry", 1), ("fresh", 3), ("retry", 1)]


def test_nothing_is_claimed_when_the_time_is_up() -> None:
    inbox = MemoryInbox(_attachments(3))

    drained = drain(inbox, Refuser, DrainLimits(photos_per_batch=3, seconds=0))

    assert drained.unfinished
    assert inbox.claims == []


def test_claim_is_released_when_the_model_is_broken() -> None:
    inbox = MemoryInbox(_attachments(3))

    with pytest.raises(ModelError):
        drain(inbox, BrokenModel, LIMITS)

    assert (inbox.released, inbox.recorded) == (3, [])


def test_nothing_is_claimed_when_no_model_is_live() -> None:
    inbox = MemoryInbox(_attachments(3))

    def no_model() -> Refuser:
        raise ModelError("no model is live")

    with pytest.raises(ModelError):
        drain(inbox, no_model, LIMITS)

    assert inbox.claims == []


def test_live_model_is_looked_up_before_each_claim() -> None:
    inbox = MemoryInbox(_attachments(6))
    n_claims: list[int] = []

    def live() -> Refuser:
        n_claims.append(len(inbox.claims))
        return Refuser()

    drain(inbox, live, LIMITS)

    assert {0, 1, 2} <= set(n_claims)


def test_size_of_each_batch_is_reported() -> None:
    sizes: list[int] = []

    drain(MemoryInbox(_attachments(7)), Refuser, LIMITS, on_batch=sizes.append)

    assert sizes == [3, 3, 1]


@dataclass
class Chunks:
    """Background work: `left` empty batches."""

    left: int
    on_score: Callable[[], object]
    released: int = 0

    def take(self) -> "Chunk | None":
        if not self.left:
            return None
        self.left -= 1
        return Chunk(self)


@dataclass
class Chunk:
    chunks: Chunks
    is_background: bool = True

    def score(self) -> AssessedBatch:
        self.chunks.on_score()
        return AssessedBatch(MODEL, 0.5, [])

    def record(self, assessed: AssessedBatch) -> Recorded:
        return Recorded()

    def release(self) -> None:
        self.chunks.released += 1


def test_inbox_goes_before_background_work_that_was_taken_ahead() -> None:
    inbox = MemoryInbox(_attachments(4))
    order: list[str] = []

    class Ordered(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            order.append("inbox")
            return super().assess(attachments)

    def message_arrives() -> None:
        if "chunk" not in order:
            inbox.fresh += _attachments(2)  # while a chunk is scored and the next one is taken
        order.append("chunk")

    chunks = Chunks(3, message_arrives)
    drained = drain(inbox, Ordered, LIMITS, background=chunks)

    assert order == ["inbox", "inbox", "chunk", "inbox", "chunk", "chunk"]
    assert (drained.recorded.not_assessable, drained.batches, chunks.released) == (6, 3, 0)


def test_inbox_is_scored_when_the_model_of_background_work_is_broken() -> None:
    inbox = MemoryInbox(_attachments(1))

    def broken() -> None:
        raise ModelError("the weights are gone")

    chunks = Chunks(2, broken)
    drained = drain(inbox, Refuser, LIMITS, background=chunks)

    assert (drained.recorded.not_assessable, drained.unfinished, chunks.released) == (1, False, 2)


def test_preparing_scoring_and_recording_overlap() -> None:
    """Each stage waits until another one has started, so a drain without overlap fails."""
    inbox = MemoryInbox(_attachments(9))
    prepared, recording = [Event() for _ in range(3)], [Event() for _ in range(3)]
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
                assert recording[number - 1].wait(60)
            return self.assess(attachments)

    class Watched(MemoryInbox):
        def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
            recording[len(self.recorded) // 3].set()
            return super().record(claim, batch)

    watched = Watched(inbox.fresh)
    assert drain(watched, Overlapped, LIMITS).recorded.not_assessable == 9


def test_no_more_than_three_batches_are_held_at_once() -> None:
    inbox = MemoryInbox(_attachments(30))
    held: list[int] = []

    class Counting(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            time.sleep(0.01)  # time in which another batch could be claimed
            held.append(30 - len(inbox.fresh) - len(inbox.recorded))
            return super().assess(attachments)

    drain(inbox, Counting, LIMITS)

    assert max(held) <= 9


def test_background_work_is_released_when_no_model_can_score_a_new_message() -> None:
    looked_up: list[int] = []

    def live() -> Refuser:
        looked_up.append(1)
        if len(looked_up) == 2:  # for the claim before background work is scored
            raise ModelError("no model is live")
        return Refuser()

    chunks = Chunks(1, lambda: None)

    with pytest.raises(ModelError):
        drain(MemoryInbox(), live, LIMITS, background=chunks)

    assert chunks.released == 1


def test_background_work_is_released_once_when_it_is_taken_back_while_the_drain_fails() -> None:
    """The batch was put aside, and the thread ahead takes it back after the network has failed."""
    has_failed = Event()

    class Slow(MemoryInbox):
        def claim(self, limit: int, *, retry: bool) -> Claim | None:
            if self.claims:
                assert has_failed.wait(60)
                time.sleep(0.05)  # time in which the drain could look for the batch too early
            elif chunks.left == 0:
                self.fresh += _attachments(1)  # after background work was taken
            return super().claim(limit, retry=retry)

    class Failing(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            has_failed.set()
            raise MemoryError

    chunks = Chunks(1, lambda: None)
    inbox = Slow()

    with pytest.raises(MemoryError):
        drain(inbox, Failing, LIMITS, background=chunks)

    assert (inbox.released, chunks.released) == (1, 1)


def test_recorded_batches_are_reported_and_their_stages_are_timed() -> None:
    recorded: list[int] = []
    stages: list[str] = []

    def timed(stage: str) -> AbstractContextManager[None]:
        stages.append(stage)
        return nullcontext()

    background = Chunks(1, lambda: None)
    drain(
        MemoryInbox(_attachments(4)),
        Refuser,
        LIMITS,
        background=background,
        on_recorded=lambda counts: recorded.append(counts.not_assessable),
        timed=timed,
    )

    assert recorded == [3, 1, 0]  # the last one is the background batch
    assert sorted(stages) == ["forward", "forward", "write", "write"]  # of the inbox only


def test_every_claim_is_released_when_postgres_is_unavailable() -> None:
    class Failing(MemoryInbox):
        def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
            raise ServiceUnavailableError("Postgres does not respond")

    inbox = Failing(_attachments(9))

    with pytest.raises(ServiceUnavailableError):
        drain(inbox, Refuser, LIMITS)

    assert inbox.released == 9 - len(inbox.fresh)  # includes the batch that could not be recorded


def test_retry_is_scored_with_nothing_else_in_flight() -> None:
    inbox = MemoryInbox(_attachments(6), _attachments(1))
    others: list[int] = []

    class Alone(Refuser):
        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if len(attachments) == 1:
                others.append(7 - len(inbox.fresh) - len(inbox.retries) - len(inbox.recorded) - 1)
            return super().assess(attachments)

    drain(inbox, Alone, LIMITS)

    assert others == [0]


def test_slow_photo_holds_up_its_own_batch_only_when_several_are_prepared() -> None:
    inbox = MemoryInbox(_attachments(12), _attachments(1))
    fresh, retry = [item.id for item in inbox.fresh], inbox.retries[0].id
    inbox.retries = []
    others_are_scored = Event()

    class Overtaking(Refuser):
        def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
            if attachments[0].id == fresh[0]:
                assert others_are_scored.wait(60)
                inbox.retries = [ClaimedAttachment(retry, None, None)]
            return super().prepare(attachments)

        def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
            if attachments[-1].id == fresh[11]:
                others_are_scored.set()
            return super().assess(attachments)

    drained = drain(inbox, Overtaking, DrainLimits(photos_per_batch=3, seconds=60, batches_ahead=4))

    assert inbox.recorded == [*fresh[3:], *fresh[:3], retry]
    assert (drained.batches, drained.unfinished) == (5, False)


@pytest.mark.parametrize("batches_ahead", [1, 4])
def test_no_more_batches_than_the_limit_are_prepared_at_once(batches_ahead: int) -> None:
    inbox = MemoryInbox(_attachments(60))
    running, most = 0, 0
    lock = Lock()

    class Counting(Refuser):
        def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.005)
            with lock:
                running -= 1
            return super().prepare(attachments)

    drain(inbox, Counting, DrainLimits(3, 60, batches_ahead))

    assert most == batches_ahead
    assert len(inbox.recorded) == 60


def test_batches_that_wait_are_released_when_the_store_is_unavailable() -> None:
    inbox = MemoryInbox(_attachments(12))
    others_wait = Event()

    class Failing(Refuser):
        def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
            if len(inbox.claims) == 4:
                others_wait.set()
            assert others_wait.wait(60)
            raise ServiceUnavailableError("the store does not respond")

    with pytest.raises(ServiceUnavailableError):
        drain(inbox, Failing, DrainLimits(photos_per_batch=3, seconds=60, batches_ahead=4))

    assert (inbox.released, inbox.recorded) == (12, [])
