"""Rescoring: verdicts of one model for every scored attachment that lacks one when the run starts. It sends nothing.

A run is a cursor over attachment ids. It needs no rows of its own, can be resumed at any point, and is shared by all
workers: each takes the next chunk under a short lock. Attachments of a lost worker are found by a further pass, one by
one, so that a photo that kills its worker takes no other photo with it. Passes are repeated while they write verdicts,
however many workers are killed. A run is done when a pass finds nothing; it gives up photos that several consecutive
passes could not score.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.orm import Session

from triage.domain.ids import ModelVersionId, RunId, first_id, new_id
from triage.domain.messages import ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, Scored
from triage.domain.runs import RescoringParameters, Run
from triage.domain.states import RunKind, RunStatus, VerdictOrigin
from triage.errors import ModelError, validation_problems
from triage.retakes.decide import reconsider_open
from triage.retakes.policy import RetakePolicy
from triage.scoring.batches import Assessor
from triage.scoring.rescoring_progress import Progress
from triage.storage import inbox, runs, verdicts
from triage.storage.database import Sessions, persist
from triage.storage.verdicts import Page

_EMPTY_PASSES: Final = 3
"""A run ends after this many consecutive passes without a verdict; the remaining photos count as failed."""

_EMPTY_PASSES_WITH_LOSSES: Final = 5
"""The same if workers were lost in the pass: their photos may have had no chance."""

_SEARCH_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Chunk:
    """Attachments that a worker took from a run. Empty if the run ended or no attachment looked at needs a verdict."""

    id: UUID
    run_id: RunId
    model_version_id: ModelVersionId
    attachments: Sequence[ClaimedAttachment]


@dataclass(frozen=True, slots=True)
class RescoringBatch:
    """A chunk with the call that scores it. An empty one gives the inbox its turn during a long search."""

    rescoring: "Rescoring"
    chunk: Chunk
    assess: Callable[[], AssessedBatch]
    is_background: bool = True

    def score(self) -> AssessedBatch:
        try:
            return self.assess()
        except ModelError as error:
            self.rescoring.fail(self.chunk, error)
            raise

    def record(self, assessed: AssessedBatch) -> Recorded:
        if self.chunk.attachments:
            self.rescoring.record(self.chunk, assessed)
        return Recorded()

    def release(self) -> None:
        if self.chunk.attachments:
            self.rescoring.release(self.chunk)


class Rescoring:
    """Background work of the drain: one chunk of the oldest open rescoring run at a time."""

    def __init__(
        self,
        sessions: Sessions,
        assessor_of: Callable[[ModelVersionId], Assessor],
        *,
        photos_per_batch: int,
        lease: timedelta,
        policy: RetakePolicy,
    ) -> None:
        self._sessions = sessions
        self._assessor_of = assessor_of
        self._photos_per_batch = photos_per_batch
        self._lease = lease
        self._policy = policy

    def take(self) -> RescoringBatch | None:
        """Returns one chunk, fetched and decoded; an empty one after a long search; None if no run has work."""
        until = time.monotonic() + _SEARCH_SECONDS
        while (chunk := self._take_chunk()) is not None:
            if chunk.attachments:
                try:
                    return RescoringBatch(
                        self, chunk, self._assessor_of(chunk.model_version_id).prepare(chunk.attachments)
                    )
                except ModelError as error:
                    self.fail(chunk, error)
                except BaseException:
                    self.release(chunk)
                    raise
            elif time.monotonic() >= until:
                return RescoringBatch(self, chunk, partial(AssessedBatch, chunk.model_version_id, 0.0, []))
        return None

    def fail(self, chunk: Chunk, error: ModelError) -> None:
        """Ends the run of a chunk, because its model cannot score."""
        with self._sessions.begin() as session:
            runs.end(session, chunk.run_id, RunStatus.FAILED, error=str(error))

    def record(self, chunk: Chunk, batch: AssessedBatch) -> None:
        """Writes verdicts, withdraws requests of messages that pass now, and counts flips.

        While the database is unavailable, it retries until the lease expires. A late result is dropped.
        """
        persist(partial(self._record_once, chunk, batch), patience_seconds=self._lease.total_seconds())

    def release(self, chunk: Chunk) -> None:
        """Gives a chunk back; a further pass finds its attachments."""
        with self._sessions.begin() as session:
            run = runs.lock(session, chunk.run_id)
            progress = Progress.of(run)
            if run.status is RunStatus.RUNNING and progress.holds(chunk.id):
                progress = replace(progress.without_chunk(chunk.id), lost=progress.lost + len(chunk.attachments))
                self._store(session, run, progress)

    def _take_chunk(self) -> Chunk | None:
        with self._sessions.begin() as session:
            return self._take(session)

    def _record_once(self, chunk: Chunk, batch: AssessedBatch) -> None:
        with self._sessions.begin() as session:
            self._record(session, chunk, batch)

    def _store(self, session: Session, run: Run, progress: Progress) -> None:
        runs.beat_shared(session, run.id, lease=self._lease, progress=asdict(progress))

    def _take(self, session: Session) -> Chunk | None:
        run = runs.lock_oldest(session, RunKind.RESCORING)
        if run is None:
            return None
        try:
            parameters = RescoringParameters.model_validate(run.parameters)
        except ValidationError as error:  # stored by another release, or damaged: it must not stop other runs
            problems = f"invalid rescoring parameters: {validation_problems(error)}"
            runs.end(session, run.id, RunStatus.FAILED, error=problems)
            return self._take(session)
        progress = Progress.of(run)
        page = self._next_page(session, run, parameters, progress)
        chunk = Chunk(new_id(), run.id, parameters.model_version_id, page.attachments)
        if page.attachments or not page.is_last:
            self._store(session, run, progress.with_chunk(chunk.id, len(page.attachments), up_to=page.next_after))
        elif progress.in_flight and runs.is_held(session, run.id):
            return None  # other workers still hold chunks of this pass
        elif _is_over(progress, parameters.limit):
            n_failed = progress.failed + progress.lost + progress.in_flight
            self._store(session, run, replace(progress, chunks={}, lost=0, failed=n_failed, seconds_left=0.0))
            runs.end(session, run.id, RunStatus.DONE)
        else:
            self._store(session, run, progress.next_pass())
        return chunk

    def _next_page(self, session: Session, run: Run, parameters: RescoringParameters, progress: Progress) -> Page:
        """Looks for attachments after the cursor: a batch in the first pass, single ones in later passes."""
        size = self._photos_per_batch if progress.passes == 1 else 1
        if parameters.limit is not None:
            size = min(size, parameters.limit - progress.scored - progress.in_flight)
        cursor = UUID(progress.after) if progress.after else _start_of(parameters.since)
        if size <= 0:
            return Page([], cursor, is_last=True)
        return verdicts.without_verdict(
            session,
            parameters.model_version_id,
            after=cursor,
            since=parameters.since,
            until=run.created_at,
            limit=size,
        )

    def _record(self, session: Session, chunk: Chunk, batch: AssessedBatch) -> None:
        ids = [attachment.id for attachment in chunk.attachments]
        inbox.lock_threads(session, ids)
        messages = inbox.messages_of(session, ids)
        scored = [item for item in batch.assessments if isinstance(item, Scored) and item.id in messages]
        new = verdicts.add(
            session,
            scored,
            model_version_id=batch.model_version_id,
            threshold=batch.threshold,
            origin=VerdictOrigin.RESCORING,
            run_id=chunk.run_id,
        )
        withdrawn = reconsider_open(
            session,
            set(messages.values()),
            self._policy,
            model_version_id=batch.model_version_id,
        )
        good_to_bad, bad_to_good = verdicts.count_flips(session, batch.model_version_id, new)
        run = runs.lock(session, chunk.run_id)
        progress = Progress.of(run)
        if run.status is not RunStatus.RUNNING or not progress.holds(chunk.id):
            session.rollback()  # recorded already, or late: the run has ended, or another pass has taken the photos
            return
        n_scored = progress.scored + len(new)
        progress = replace(
            progress.without_chunk(chunk.id),
            scored=n_scored,
            failed=progress.failed + len(ids) - len(scored),
            seconds_left=_seconds_left(run, n_scored, progress.total),
            withdrawn=progress.withdrawn + withdrawn,
            good_to_bad=progress.good_to_bad + good_to_bad,
            bad_to_good=progress.bad_to_good + bad_to_good,
        )
        self._store(session, run, progress)


def _start_of(since: datetime | None) -> UUID:
    """The cursor before the first attachment of messages received from a time on."""
    return UUID(int=0) if since is None else first_id(since)


def _seconds_left(run: Run, scored: int, total: int) -> float | None:
    if not scored or run.started_at is None or run.heartbeat_at is None:
        return None
    pace = (run.heartbeat_at - run.started_at).total_seconds() / scored
    return pace * max(0, total - scored)


def _is_over(progress: Progress, limit: int | None) -> bool:
    """Whether a pass that has ended was the last one."""
    if not progress.found_any or (limit is not None and progress.scored >= limit):
        return True
    has_losses = bool(progress.lost + progress.in_flight)
    return progress.empty_passes_now >= (_EMPTY_PASSES_WITH_LOSSES if has_losses else _EMPTY_PASSES)
