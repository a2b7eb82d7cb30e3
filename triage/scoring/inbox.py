"""The inbox in Postgres: each use case is one transaction over the repositories."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import UUID

from triage.domain.messages import Claim, Recorded
from triage.domain.photos import AssessedBatch, NotAssessable, Scored
from triage.domain.states import VerdictOrigin
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import inbox as queue
from triage.storage import verdicts
from triage.storage.database import Sessions, persist
from triage.storage.inbox import RetryRules
from triage.timing import Timed, untimed


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep mended, and whether photos wait for a worker."""

    requeued: int
    parked: int
    due: bool


class PostgresInbox:
    """As `triage.scoring.ports.Inbox`, with the sweep that gives every lost piece of work back."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lease: timedelta,
        rules: RetryRules,
        policy: RetakePolicy,
        timed: Timed = untimed,
    ) -> None:
        """
        Args:
            timed: measures the stage `write`.
        """
        self._sessions = sessions
        self._lease = lease
        self._rules = rules
        self._policy = policy
        self._timed = timed

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        """The attempt is committed before any work is done, so that a photo that kills its worker is counted."""
        with self._sessions.begin() as session:
            return queue.claim(session, limit=limit, lease=self._lease, retry=retry)

    def has_retries(self) -> bool:
        """Whether a photo that failed before is due."""
        with self._sessions() as session:
            return queue.has_retries(session)

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        """Writes states and verdicts under the claim's token and decides the messages that are complete.

        A database that does not answer is asked again until the lease is over: results in hand outlive its restart.

        Raises:
            ServiceUnavailableError: it did not answer in that time, or its tables are not those of this release.
        """
        with self._timed("write"):
            return persist(partial(self._record, claim, batch), patience_seconds=self._lease.total_seconds())

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
        )

    def release(self, claim: Claim) -> int:
        """Gives back what was claimed and not worked on, as soon as the database answers."""
        return persist(partial(self._release, claim), patience_seconds=self._lease.total_seconds())

    def _release(self, claim: Claim) -> int:
        with self._sessions.begin() as session:
            return queue.release(session, claim.token)

    def sweep(self) -> Swept:
        """Gives expired leases back, parks photos whose attempts are used up, and decides the messages of those."""
        requeued, parked = 0, list[UUID]()
        with self._sessions.begin() as session:
            if expired := queue.expired(session):
                queue.lock_threads(session, expired)
                requeued, parked = queue.sweep(session, expired, self._rules)
                decide_messages(session, set(parked), self._policy)
            return Swept(requeued, len(parked), queue.is_due(session))
