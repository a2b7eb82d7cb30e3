"""A scoring worker whose network sleeps: claims, decisions and their transactions are real, and photos do not exist."""

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from multiprocessing.synchronize import Barrier

from benchmarks.clinic import BAD
from triage.blobs.store import BlobStore
from triage.domain.assessments import LaneLimits
from triage.domain.ids import ModelVersionId
from triage.domain.limits import RetryRules
from triage.domain.messages import Claim, ClaimedAttachment, Recorded
from triage.domain.photos import AssessedBatch, Finding, PhotoFacts, PhotoScore, Scored
from triage.domain.states import FindingKind, FindingLevel
from triage.retakes.policy import RetakePolicy
from triage.scoring.assessments import Assessments
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.inbox import Inbox
from triage.scoring.lane import AssessmentLane
from triage.storage import migrate
from triage.storage import model_versions as models
from triage.storage.database import Sessions, create_database_engine, create_sessions

_GOOD = PhotoScore(cumulative=(0.99, 0.9, 0.8, 0.5), patch_scores=(0.8,) * 5, score=0.8, grade=3)
_FINDINGS = tuple(Finding(kind, FindingLevel.MILD, 0.25, (0, 1)) for kind in list(FindingKind)[:2])
_BAD_ONE_OF = 5


@dataclass(frozen=True, slots=True)
class Load:
    """
    Attributes:
        photos_per_batch: claimed, scored and recorded together.
        seconds_per_photo: of the forward pass.
        seconds: of the measurement.
    """

    photos_per_batch: int
    seconds_per_photo: float
    seconds: float


@dataclass(slots=True)
class Work:
    """What a worker did: photos, duration, CPU time, and the duration of each transaction by kind, in ms."""

    photos: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    transactions: dict[str, list[float]] = field(default_factory=lambda: {"model": [], "claim": [], "record": []})


@dataclass(frozen=True, slots=True)
class _TimedInbox:
    """The inbox, which measures claims that find photos, and records."""

    inbox: Inbox
    work: Work

    def claim(self, limit: int, *, retry: bool) -> Claim | None:
        started = time.perf_counter()
        claim = self.inbox.claim(limit, retry=retry)
        if claim is not None:
            self.work.transactions["claim"].append(1000 * (time.perf_counter() - started))
        return claim

    def record(self, claim: Claim, batch: AssessedBatch) -> Recorded:
        started = time.perf_counter()
        recorded = self.inbox.record(claim, batch)
        self.work.transactions["record"].append(1000 * (time.perf_counter() - started))
        self.work.photos += recorded.scored
        return recorded

    def has_retries(self) -> bool:
        return self.inbox.has_retries()

    def release(self, claim: Claim) -> int:
        return self.inbox.release(claim)


@dataclass(frozen=True, slots=True)
class _SleepingAssessor:
    """Sleeps for the forward pass. One photo of five is bad, and each has two findings."""

    model: ModelVersionId
    load: Load

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        return partial(self._score, attachments)

    def _score(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        time.sleep(self.load.seconds_per_photo * len(attachments))
        return AssessedBatch(self.model, 0.5, [_assess(item) for item in attachments])


def _assess(item: ClaimedAttachment) -> Scored:
    is_bad = item.id.int % _BAD_ONE_OF == 0
    facts = PhotoFacts(f"{item.id.int:064x}", 3000, 4000, "image/jpeg")
    return Scored(item.id, facts, BAD if is_bad else _GOOD, acceptable=not is_bad, findings=_FINDINGS)


def score(url: str, load: Load, start: Barrier) -> Work:
    """Scores the inbox of a database for the time of the load, from when all workers are ready."""
    engine = create_database_engine(url)
    sessions = create_sessions(engine)
    work = Work()
    inbox = Inbox(sessions, lease=timedelta(minutes=5), rules=RetryRules(), policy=RetakePolicy())
    with tempfile.TemporaryDirectory() as folder:
        waiting = Assessments(sessions, BlobStore(folder), limits=LaneLimits(), wake_up=lambda: None)
        assessor = partial(_live_assessor, sessions, load, work)
        lane = AssessmentLane(waiting, assessor, photos_per_batch=load.photos_per_batch)
        assessor()  # connects
        work.transactions["model"].clear()
        start.wait()
        started, before = time.perf_counter(), _cpu_seconds()
        drain(_TimedInbox(inbox, work), assessor, DrainLimits(load.photos_per_batch, load.seconds), lane=lane)
        work.seconds, work.cpu_seconds = time.perf_counter() - started, _cpu_seconds() - before
    engine.dispose()
    return work


def _live_assessor(sessions: Sessions, load: Load, work: Work) -> _SleepingAssessor:
    """Asks before each claim what a worker asks: the schema, the live model, the shadow models."""
    started = time.perf_counter()
    with sessions() as session:
        migrate.check_not_behind(session)
        live = models.live(session)
        models.shadows(session)
    work.transactions["model"].append(1000 * (time.perf_counter() - started))
    assert live is not None
    return _SleepingAssessor(live.id, load)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
