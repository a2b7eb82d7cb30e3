"""The lane of a drain: photos that somebody waits for go before the inbox, one batch of them at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

import pytest

from tests.support.assessor import SimpleAssessor
from triage.domain.ids import AttachmentId, LeaseToken, ModelVersionId, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable
from triage.errors import ErrorCode, ModelError
from triage.scoring.batches import Batch, InboxBatch
from triage.scoring.drain import DrainLimits, drain

MODEL = ModelVersionId(new_id())
LIMITS = DrainLimits(photos_per_batch=2, seconds=60)


class Scripted(SimpleAssessor):
    """Writes down the order in which batches are scored, and calls `on_score` before each."""

    def __init__(self, order: list[str], on_score: Callable[[], object] = lambda: None) -> None:
        self._order = order
        self._on_score = on_score

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        self._order.append(str(attachments[0].sha256))
        self._on_score()
        return AssessedBatch(MODEL, 0.5, [NotAssessable(each.id, ErrorCode.EMPTY) for each in attachments])


class Memory:
    """A queue in memory: of the inbox, or of the lane."""

    def __init__(self, name: str, photos: int) -> None:
        self._name = name
        self.waiting = photos
        self.recorded = 0
        self.released = 0

    def claim(self, limit: int, *, retry: bool = False) -> Claim | None:
        n = 0 if retry else min(limit, self.waiting)
        self.waiting -= n
        photos = [ClaimedAttachment(AttachmentId(new_id()), self._name, None) for _ in range(n)]
        return Claim(LeaseToken(new_id()), photos) if photos else None

    def has_retries(self) -> bool:
        return False

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        self.recorded += len(batch.assessments)
        return Recorded()

    def release(self, claim: Claim) -> int:
        self.released += len(claim.attachments)
        return len(claim.attachments)


class Lane:
    def __init__(self, queue: Memory, assessor: Scripted) -> None:
        self._queue = queue
        self._assessor = assessor

    def take(self) -> Batch | None:
        claim = self._queue.claim(2)
        if claim is None:
            return None
        prepared: Future[Callable[[], AssessedBatch]] = Future()
        prepared.set_result(self._assessor.prepare(claim.attachments))
        return InboxBatch(self._queue, claim, prepared)


def test_lane_goes_first_and_takes_turns_with_a_full_inbox() -> None:
    order: list[str] = []
    assessor = Scripted(order)
    inbox, waiting = Memory("inbox", 6), Memory("lane", 4)

    drain(inbox, lambda: assessor, LIMITS, lane=Lane(waiting, assessor))

    assert order == ["lane", "inbox", "lane", "inbox", "inbox"]
    assert (inbox.recorded, waiting.recorded) == (6, 4)


def test_photo_that_arrives_during_a_pass_overtakes_the_batches_that_are_prepared() -> None:
    order: list[str] = []
    inbox, waiting = Memory("inbox", 8), Memory("lane", 0)

    def arrive() -> None:
        if order == ["inbox"]:
            waiting.waiting = 1

    assessor = Scripted(order, arrive)

    drain(inbox, lambda: assessor, DrainLimits(2, 60, batches_ahead=3), lane=Lane(waiting, assessor))

    assert order == ["inbox", "lane", "inbox", "inbox", "inbox"]


def test_lane_is_served_when_the_inbox_is_empty() -> None:
    order: list[str] = []
    assessor = Scripted(order)
    waiting = Memory("lane", 3)

    drained = drain(Memory("inbox", 0), lambda: assessor, LIMITS, lane=Lane(waiting, assessor))

    assert order == ["lane", "lane"]
    assert (waiting.recorded, drained.unfinished) == (3, False)
    assert drained.batches == 0  # of the inbox


def test_everything_is_released_when_the_lane_fails() -> None:
    inbox, waiting = Memory("inbox", 4), Memory("lane", 1)

    def fail() -> None:
        raise ModelError("the weights are gone")

    with pytest.raises(ModelError):
        drain(inbox, lambda: Scripted([]), LIMITS, lane=Lane(waiting, Scripted([], fail)))

    assert (waiting.released, waiting.recorded) == (1, 0)
    assert inbox.released + inbox.waiting + inbox.recorded == 4
