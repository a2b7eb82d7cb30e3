"""The inbox in Postgres: claim, record, release and sweep, each in one transaction."""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from triage.domain.limits import RetryRules
from triage.domain.messages import Claim, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable, Scored
from triage.domain.states import VerdictOrigin
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import inbox as queue
from triage.storage import verdicts
from triage.storage.database import Sessions, persist


@dataclass(frozen=True, slots=True)
class Swept:
    """Attachments that a sweep requeued and parked, and whether attachments are due."""

    requeued: int
    parked: int
    due: bool


class Inbox:
    """The queue of record that a drain works on, and the sweep that requeues expired leases."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lease: timedelta,
        rules: RetryRules,
        policy: RetakePolicy,
    ) -> None:
        self._sessions = sessions
        self._lease = lease
        self._rules = rules
        self._policy = policy

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        """Claims due attachments. The lease is committed first, so it expires if a photo kills its worker."""
        with self._sessions.begin() as session:
            return queue.claim(session, limit=limit, lease=self._lease, retry=retry)

    def has_retries(self) -> bool:
        """Whether an attachment that failed or was lost before is due."""
        with self._sessions() as session:
            return queue.has_retries(session)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        """Writes states and verdicts under the claim's token and decides complete messages.

        While the database is unavailable, it retries until the lease expires, so results survive a restart of Postgres.

        Raises:
            ServiceUnavailableError: the database was unavailable for that time, or its tables are outdated.
        """
        return persist(partial(self._record, claim, batch), patience_seconds=self._seconds_left(claim))

    def _record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        with self._sessions.begin() as session:
            queue.lock_threads(session, [item.id for item in batch.assessments])
            written = queue.finish(session, claim.token, batch.assessments, self._rules)
            accepted = [item for item in batch.assessments if item.id in written]
            scored = [item for item in accepted if isinstance(item, Scored)]
            verdicts.add(
                session,
                scored,
                model_version_id=batch.model_version_id,
                threshold=batch.threshold,
                origin=VerdictOrigin.INBOX,
            )
            decided_on = {item.id for item in scored}
            for shadow in batch.shadows:
                verdicts.add(
                    session,
                    [item for item in shadow.assessments if isinstance(item, Scored) and item.id in decided_on],
                    model_version_id=shadow.model_version_id,
                    threshold=shadow.threshold,
                    origin=VerdictOrigin.SHADOW,
                )
            decided = decide_messages(session, set(written.values()), self._policy)
        not_assessable = sum(isinstance(item, NotAssessable) for item in accepted)
        return Recorded(
            scored=len(scored),
            not_assessable=not_assessable,
            failed=len(accepted) - len(scored) - not_assessable,
            stale=len(batch.assessments) - len(accepted),
            decided=decided.decisions,
            flagged=decided.flagged,
            reasons=Counter(item.code for item in accepted if not isinstance(item, Scored)),
        )

    def release(self, claim: Claim) -> int:
        """Releases a claim without counting the attempt.

        While the database is unavailable, it retries until the lease expires: the next sweep then releases the claim.

        Raises:
            ServiceUnavailableError: as `record`.
        """
        return persist(partial(self._release, claim), patience_seconds=self._seconds_left(claim))

    def _seconds_left(self, claim: Claim) -> float:
        return self._lease.total_seconds() - (time.monotonic() - claim.at)

    def _release(self, claim: Claim) -> int:
        with self._sessions.begin() as session:
            return queue.release(session, claim.token)

    def sweep(self) -> Swept:
        """Requeues expired leases, parks attachments that lost too many, and decides their messages."""
        requeued, parked = 0, list[UUID]()
        with self._sessions.begin() as session:
            if expired := queue.expired(session):
                queue.lock_threads(session, expired)
                requeued, parked = queue.sweep(session, expired, self._rules)
                decide_messages(session, set(parked), self._policy)
            return Swept(requeued, len(parked), queue.is_due(session))
