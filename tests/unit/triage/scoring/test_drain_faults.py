"""Faults at every step of a drain, in random order: no photo is lost, recorded twice or released twice."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import pytest

from triage.domain.ids import AttachmentId, LeaseToken, ModelVersionId, new_id
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable
from triage.errors import BlobStoreUnavailableError, DeviceError, ErrorCode, Fault, ModelError, ServiceUnavailableError
from triage.scoring.drain import DrainLimits, drain

MODEL = ModelVersionId(new_id())
N_PHOTOS = 23
ERRORS: Sequence[Callable[[], BaseException]] = (
    lambda: ModelError("the weights are gone"),
    lambda: DeviceError("the card is full", Fault.NO_MEMORY),
    lambda: BlobStoreUnavailableError("the store does not respond"),
    lambda: ServiceUnavailableError("Postgres does not respond"),
    MemoryError,
    KeyboardInterrupt,
)


class Faults:
    """Raises an error at a random step, at most `left` times. Thread-safe."""

    def __init__(self, seed: int, left: int) -> None:
        self.random, self.left, self._lock = random.Random(seed), left, threading.Lock()

    def step(self) -> None:
        with self._lock:
            is_due = self.left > 0 and self.random.random() < 0.08
            self.left -= is_due
            error = self.random.choice(ERRORS)
        if is_due:
            raise error()

    def chance(self, share: float) -> bool:
        with self._lock:
            return self.random.random() < share


class FaultyInbox:
    """An inbox in memory that keeps account of every claim. A lease can be lost before its results are recorded."""

    def __init__(self, faults: Faults) -> None:
        self._faults, self._lock = faults, threading.Lock()
        self.fresh = [ClaimedAttachment(AttachmentId(new_id()), None, None) for _ in range(N_PHOTOS)]
        self.retries = [ClaimedAttachment(AttachmentId(new_id()), None, None, is_retry=True) for _ in range(3)]
        self.all = {item.id for item in chain(self.fresh, self.retries)}
        self.claims: dict[LeaseToken, Claim] = {}
        self.released: Counter[LeaseToken] = Counter()
        self.written: Counter[AttachmentId] = Counter()
        self.attempts: Counter[LeaseToken] = Counter()

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        self._faults.step()
        with self._lock:
            queue = self.retries if retry else self.fresh
            taken, queue[:] = queue[:limit], queue[limit:]
            if not taken:
                return None
            claim = Claim(LeaseToken(new_id()), taken)
            self.claims[claim.token] = claim
            return claim

    def has_retries(self) -> bool:
        self._faults.step()
        return bool(self.retries)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        self.attempts[claim.token] += 1
        self._faults.step()
        if self._faults.chance(0.1):
            self.expire(claim.token)
        with self._lock:
            if claim.token not in self.claims:
                return Recorded(stale=len(batch.assessments))
            assert {item.id for item in batch.assessments} == {item.id for item in claim.attachments}
            self.written.update(item.id for item in batch.assessments)
            del self.claims[claim.token]
        return Recorded(not_assessable=len(batch.assessments))

    def release(self, claim: Claim) -> int:
        self.released[claim.token] += 1
        self.expire(claim.token)
        self._faults.step()
        return len(claim.attachments)

    def expire(self, token: LeaseToken) -> None:
        """The photos of a claim are due again."""
        with self._lock:
            for item in self.claims.pop(token).attachments if token in self.claims else ():
                (self.retries if item.is_retry else self.fresh).append(item)


class FaultyAssessor:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        if self._faults.chance(0.2):
            threading.Event().wait(0.001)  # a slow photo: other batches overtake this one
        self._faults.step()
        return partial(self._score, attachments)

    def _score(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        self._faults.step()
        return AssessedBatch(MODEL, 0.5, [NotAssessable(item.id, ErrorCode.EMPTY) for item in attachments])


class FaultyBackground:
    def __init__(self, faults: Faults) -> None:
        self._faults, self.left = faults, 3
        self.taken: list[FaultyChunk] = []

    def take(self) -> "FaultyChunk | None":
        self._faults.step()
        if not self.left:
            return None
        self.left -= 1
        self.taken.append(FaultyChunk(self._faults))
        return self.taken[-1]


class FaultyChunk:
    is_background = True

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.ends = Counter[str]()

    def score(self) -> AssessedBatch:
        self._faults.step()
        return AssessedBatch(MODEL, 0.5, [])

    def record(self, _: AssessedBatch) -> Recorded:
        self.ends["recorded"] += 1
        try:
            self._faults.step()
        except ServiceUnavailableError:
            self.ends["recorded"] -= 1  # the batch is to be released
            raise
        return Recorded()

    def release(self) -> None:
        self.ends["released"] += 1


def _drain(inbox: FaultyInbox, background: FaultyBackground, faults: Faults, batches_ahead: int) -> bool:
    """Whether the drain ended without an error."""

    def live() -> FaultyAssessor:
        faults.step()
        return FaultyAssessor(faults)

    try:
        drain(
            inbox,
            live,
            DrainLimits(2, 60, batches_ahead),
            background=background,
            on_batch=lambda _: faults.step(),
            on_recorded=lambda _: faults.step(),
        )
    except BaseException:
        return False
    return True


@pytest.mark.parametrize("batches_ahead", [1, 2, 4])
def test_each_claim_ends_once_when_any_step_fails(batches_ahead: int) -> None:
    for seed in range(400):
        faults = Faults(seed, left=1 + seed % 4)
        inbox, background = FaultyInbox(faults), FaultyBackground(faults)

        while not _drain(inbox, background, faults, batches_ahead) or inbox.claims:
            for token in list(inbox.claims):
                assert inbox.attempts[token], seed  # only if its results could not be recorded, for whatever reason
                inbox.expire(token)
        assert inbox.written == Counter(dict.fromkeys(inbox.all, 1)), seed
        assert max(inbox.released.values(), default=0) <= 1, seed
        assert max(inbox.attempts.values()) == 1, seed
        assert all(chunk.ends.total() == 1 for chunk in background.taken), seed
