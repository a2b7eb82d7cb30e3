"""Rescoring: verdicts of one model for every scored attachment that lacks one when the run begins. It sends nothing.

A run is a cursor over attachment ids, so it needs no rows of its own, resumes wherever it was cut off and is shared by
all workers: each takes the next chunk under a short lock. What a lost worker left behind is found by a further pass,
one photo at a time, so that a photo that kills its worker takes no other with it. Passes follow one another while they
bring verdicts: workers may be killed as often as they like. A run is complete once a pass finds nothing, whatever was
counted; it gives up the photos that several passes, one after another, could not score.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from triage.domain.ids import ModelVersionId, RunId, first_id, new_id
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import AssessedBatch, Scored
from triage.domain.runs import Run
from triage.domain.states import RunKind, RunStatus, VerdictOrigin
from triage.errors import ModelError
from triage.retakes.decide import reconsider_unsent
from triage.retakes.policy import RetakePolicy
from triage.scoring.ports import Assessor, Work
from triage.scoring.rescoring_progress import Progress
from triage.storage import inbox, runs, verdicts
from triage.storage.database import Sessions, persist
from triage.storage.verdicts import Found

_BARREN: Final = 3
"""A run ends after so many passes that brought nothing, one after another; it says how many photos failed."""

_BARREN_WITH_LOSSES: Final = 5
"""As many where workers were lost or stopped in them: their photos had no answer, unless one kills its worker."""

_SEARCH_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Chunk:
    id: UUID
    run_id: RunId
    model_version_id: ModelVersionId
    attachments: Sequence[ClaimedAttachment]


def start_rescoring(
    session: Session,
    model_version_id: ModelVersionId,
    *,
    since: datetime | None = None,
    limit: int | None = None,
    night: date | None = None,
) -> tuple[Run, bool]:
    """Makes a rescoring run, or finds the one of the same night and model.

    Args:
        since: only messages received from then on.
        limit: at most so many attachments.
        night: the date of a nightly run, of which there is one for each model.

    Returns:
        The run, and whether it is new.
    """
    parameters = {
        "model_version_id": str(model_version_id),
        "since": since.isoformat() if since else None,
        "limit": limit,
    }
    dedupe_key = f"rescoring:{night.isoformat()}:{model_version_id}" if night else None
    run, is_new = runs.start(session, RunKind.RESCORING, parameters, dedupe_key=dedupe_key)
    if is_new:  # counted here and not by the worker that begins: it takes seconds where there are millions
        total = verdicts.count_without(session, model_version_id, since=since)
        run = runs.note(session, run.id, asdict(Progress(total=min(total, limit or total), found_any=False)))
    return run, is_new


class PostgresRescoring:
    """As `triage.scoring.ports.Background`: one chunk of the oldest open rescoring run at a time."""

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

    def take(self) -> Work | None:
        """One chunk, fetched and decoded; an empty one after a long search. None where no run has anything to do."""
        until = time.monotonic() + _SEARCH_SECONDS
        while True:
            with self._sessions.begin() as session:
                chunk = self._take(session)
            if chunk is None:
                return None
            if not chunk.attachments:  # a run or a pass of it has ended, or all that was looked at needs nothing
                if time.monotonic() < until:
                    continue
                return _nothing(chunk)
            try:
                score = self._assessor_of(chunk.model_version_id).prepare(chunk.attachments)
            except ModelError as error:
                self._fail(chunk, error)
                continue
            return Work(
                partial(self._score, chunk, score),
                partial(self._write, chunk),
                partial(self._release, chunk),
                is_background=True,
            )

    def _score(self, chunk: _Chunk, score: Callable[[], AssessedBatch]) -> AssessedBatch:
        try:
            return score()
        except ModelError as error:
            self._fail(chunk, error)
            raise

    def _fail(self, chunk: _Chunk, error: ModelError) -> None:
        with self._sessions.begin() as session:
            runs.end(session, chunk.run_id, RunStatus.FAILED, error=str(error))

    def _write(self, chunk: _Chunk, batch: AssessedBatch) -> None:
        persist(partial(self._write_once, chunk, batch), patience_seconds=self._lease.total_seconds())

    def _write_once(self, chunk: _Chunk, batch: AssessedBatch) -> None:
        with self._sessions.begin() as session:
            self._record(session, chunk, batch)

    def _release(self, chunk: _Chunk) -> None:
        """A further pass finds them."""
        with self._sessions.begin() as session:
            run = runs.lock(session, chunk.run_id)
            if run.status is RunStatus.RUNNING:
                progress = Progress.of(run)
                if progress.holds(chunk.id):
                    progress = replace(progress.without_chunk(chunk.id), lost=progress.lost + len(chunk.attachments))
                    runs.beat_shared(session, run.id, lease=self._lease, progress=asdict(progress))

    def _take(self, session: Session) -> _Chunk | None:
        run = runs.lock_oldest(session, RunKind.RESCORING)
        if run is None:
            return None
        model = ModelVersionId(UUID(str(run.parameters["model_version_id"])))
        since = datetime.fromisoformat(str(run.parameters["since"])) if run.parameters["since"] else None
        progress = Progress.of(run)
        size = self._photos_per_batch if progress.passes == 1 else 1
        limit = None if run.parameters["limit"] is None else int(str(run.parameters["limit"]))
        if limit is not None:
            size = min(size, limit - progress.scored - progress.in_flight)
        cursor = UUID(progress.after) if progress.after else _start_of(since)
        found = Found([], cursor, is_end=True)
        if size > 0:
            found = verdicts.without_verdict(
                session, model, after=cursor, since=since, until=run.created_at, limit=size
            )
        chunk = _Chunk(new_id(), run.id, model, found.attachments)
        if found.attachments or not found.is_end:
            progress = progress.with_chunk(chunk.id, len(found.attachments), up_to=found.looked_up_to)
        elif progress.in_flight and runs.is_held(session, run.id):
            return None  # other workers still hold chunks of this pass
        else:
            is_complete = not progress.found_any or (limit is not None and progress.scored >= limit)
            lost = progress.lost + progress.in_flight
            is_in_vain = progress.barren_with_this >= (_BARREN_WITH_LOSSES if lost else _BARREN)
            if is_complete or is_in_vain:
                progress = replace(progress, chunks={}, lost=0, failed=progress.failed + lost, seconds_left=0.0)
                runs.beat_shared(session, run.id, lease=self._lease, progress=asdict(progress))
                runs.end(session, run.id, RunStatus.DONE)
                return chunk
            progress = progress.next_pass()
        runs.beat_shared(session, run.id, lease=self._lease, progress=asdict(progress))
        return chunk

    def _record(self, session: Session, chunk: _Chunk, batch: AssessedBatch) -> None:
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
        withdrawn = reconsider_unsent(
            session,
            set(messages.values()),
            self._policy,
            model_version_id=batch.model_version_id,
        )
        good_to_bad, bad_to_good = verdicts.count_flips(session, batch.model_version_id, new)
        run = runs.lock(session, chunk.run_id)
        progress = Progress.of(run)
        if run.status is not RunStatus.RUNNING or not progress.holds(chunk.id):
            session.rollback()  # written already, or too late: the run has ended, or another pass looks after them
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
        runs.beat_shared(session, run.id, lease=self._lease, progress=asdict(progress))


def _start_of(since: datetime | None) -> UUID:
    """The cursor before the first attachment of a message received from then on."""
    return UUID(int=0) if since is None else first_id(since)


def _seconds_left(run: Run, scored: int, total: int) -> float | None:
    if not scored or run.started_at is None or run.heartbeat_at is None:
        return None
    pace = (run.heartbeat_at - run.started_at).total_seconds() / scored
    return pace * max(0, total - scored)


def _nothing(chunk: _Chunk) -> Work:
    """A batch of nothing: the inbox has its turn, however long a run has to look for its next photo."""
    return Work(
        lambda: AssessedBatch(chunk.model_version_id, 0.0, []), lambda _: None, lambda: None, is_background=True
    )
