"""Shared by the benchmarks: a temporary database, drawn photos and a scorer that does nothing."""

import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.card import Card
from triage.domain.ids import ModelVersionId
from triage.domain.limits import IntakeLimits, RetryRules
from triage.domain.messages import ClaimedAttachment, IncomingAttachment, IncomingMessage
from triage.domain.photos import AssessedBatch, PhotoFacts, PhotoScore, Scored
from triage.domain.states import Stage
from triage.intake import Intake
from triage.retakes.policy import RetakePolicy
from triage.samples.drawing import draw_skin_photo
from triage.scoring.inbox import Inbox
from triage.storage import model_versions as models
from triage.storage.database import Sessions, create_database_engine, create_sessions
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.stack import migrate_database
from worker.state_folder import StateFolder

BAD = PhotoScore(cumulative=(0.9, 0.2, 0.1, 0.05), patch_scores=(0.2,) * 5, score=0.2, grade=1)


@dataclass
class Clinic:
    """A message system, an intake and an inbox over one database."""

    sessions: Sessions
    folder: Path
    intake: Intake
    inbox: Inbox
    source: PhotoSource
    model: ModelVersionId

    def send_uris(self, n_messages: int, photos_each: int, *, bulk: int, first: int = 0) -> None:
        """Sends messages with photos at URIs, in calls of equal size."""
        for start in range(first, first + n_messages, bulk):
            numbers = range(start, min(start + bulk, first + n_messages))
            self.intake.enqueue([self._message(number, photos_each) for number in numbers])

    def send_bytes(self, photos: Sequence[bytes], n_messages: int, *, first: int = 0) -> None:
        """Sends messages of one photo each, cycling through the given photos."""
        attachments = [IncomingAttachment(data=data) for data in photos]
        self.intake.enqueue(
            [
                IncomingMessage("benchmark", f"b{number}", [attachments[number % len(photos)]])
                for number in range(first, first + n_messages)
            ]
        )

    @staticmethod
    def _message(number: int, photos: int) -> IncomingMessage:
        attachments = [IncomingAttachment(uri=f"file:///photos/{number}/{index}.jpg") for index in range(photos)]
        return IncomingMessage("benchmark", f"m{number}", attachments)


@dataclass(frozen=True)
class NothingAssessor:
    """Scores every photo as bad without decoding: the most expensive path, as each message flags a retake request.

    Attributes:
        model: the version of the verdicts.
        forward: seconds that it sleeps for each photo, as if the network ran on a device of its own.
    """

    model: ModelVersionId
    forward: float = 0

    def prepare(self, attachments: Sequence[ClaimedAttachment]) -> Callable[[], AssessedBatch]:
        return partial(self._score, attachments)

    def _score(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        time.sleep(self.forward * len(attachments))
        facts = PhotoFacts("a" * 64, 500, 500, "image/jpeg")
        return AssessedBatch(self.model, 0.5, [Scored(item.id, facts, BAD, acceptable=False) for item in attachments])


@contextmanager
def clinic() -> Iterator[Clinic]:
    """Runs a clinic over a temporary embedded Postgres, which is deleted afterwards."""
    folder = Path(
        tempfile.mkdtemp(prefix="triage-benchmark-", dir="/var/tmp")
    )  # readable by Postgres when started by root
    folder.chmod(0o711)
    state = StateFolder(folder / "state")
    postgres = EmbeddedPostgres(state)
    try:
        postgres.start()
        postgres.ensure_database("triage")
        migrate_database(state)
        engine = create_database_engine(state.database_url())
        sessions = create_sessions(engine)
        yield _clinic(sessions, folder)
        engine.dispose()
    finally:
        postgres.stop("immediate")
        shutil.rmtree(folder)


@contextmanager
def clinic_over(url: str) -> Iterator[Clinic]:
    """A clinic over a database of this release that exists and is kept."""
    with tempfile.TemporaryDirectory(prefix="triage-benchmark-", dir="/var/tmp") as folder:
        engine = create_database_engine(url)
        yield _clinic(create_sessions(engine), Path(folder))
        engine.dispose()


def _clinic(sessions: Sessions, folder: Path) -> Clinic:
    with sessions.begin() as session:
        model, _ = models.add(session, make_card("benchmark", weights_sha256="0" * 64))
        models.set_stage(session, model.id, Stage.LIVE)
    blobs, uris, policy = (
        BlobStore(str(folder / "blobs")),
        UriPolicy(["file:///photos"], max_bytes=2**20),
        RetakePolicy(),
    )
    return Clinic(
        sessions=sessions,
        folder=folder,
        intake=Intake(sessions, blobs, uris, limits=IntakeLimits(), policy=policy, wake_up=lambda: None),
        inbox=Inbox(sessions, lease=timedelta(minutes=5), rules=RetryRules(), policy=policy),
        source=PhotoSource(blobs, uris),
        model=model.id,
    )


def make_card(name: str, weights_sha256: str = "") -> Card:
    """The card of a model that can be promoted; the registry fills in the hash of its weights."""
    return Card(
        name=name,
        trained=True,
        threshold=0.5,
        threshold_chosen_by="benchmark",
        metrics={"benchmark": {"n_good": 20, "n_bad": 20}},
        created_at=datetime.now(UTC),
        weights_sha256=weights_sha256,
    )


def draw_jpegs(n: int, side: int = 500) -> list[bytes]:
    """Drawn close-ups of `side` x `side` pixels as JPEGs of quality 92."""
    files = []
    for seed in range(n):
        file = io.BytesIO()
        draw_skin_photo(seed, size=(side, side)).save(file, "JPEG", quality=92)
        files.append(file.getvalue())
    return files
