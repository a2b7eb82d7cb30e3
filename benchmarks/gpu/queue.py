"""A queue of record in memory, with the attempts of the one in Postgres."""

import threading
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

from triage.domain.ids import AttachmentId, LeaseToken
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, Scored

MAX_ATTEMPTS = 3


class MemoryQueue:
    """Photos that repeat a few files. It is also their source."""

    def __init__(self, n_photos: int, files: Sequence[bytes]) -> None:
        self._files = files
        self._index = {AttachmentId(uuid4()): number for number in range(n_photos)}
        self._waiting = list(self._index)
        self._failed: list[AttachmentId] = []
        self._lock = threading.Lock()
        self.attempts: Counter[AttachmentId] = Counter()
        self.scored: list[AttachmentId] = []
        self.parked: list[AttachmentId] = []

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        with self._lock:
            queue = self._failed if retry else self._waiting
            taken, queue[:] = queue[:limit], queue[limit:]
            self.attempts.update(taken)
        if not taken:
            return None
        return Claim(LeaseToken(uuid4()), [ClaimedAttachment(id_, "a" * 64, None, retry) for id_ in taken])

    def has_retries(self) -> bool:
        return bool(self._failed)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:  # noqa: ARG002  # no lease is lost here
        with self._lock:
            scored = [item.id for item in batch.assessments if isinstance(item, Scored)]
            failed = [item.id for item in batch.assessments if not isinstance(item, Scored)]
            parked = [id_ for id_ in failed if self.attempts[id_] >= MAX_ATTEMPTS]
            self.scored += scored
            self.parked += parked
            self._failed += [id_ for id_ in failed if id_ not in parked]
        return Recorded(scored=len(scored), failed=len(failed), not_assessable=len(parked))

    def release(self, claim: Claim) -> int:
        taken = [attachment.id for attachment in claim.attachments]
        with self._lock:
            self.attempts.subtract(taken)
            self._waiting = taken + self._waiting
        return len(taken)

    def fetch(self, attachment: ClaimedAttachment) -> bytes:
        return self._files[self._index[attachment.id] % len(self._files)]
