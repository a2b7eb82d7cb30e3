"""An inbox over a real database, and an assessor whose scores come from the URIs of the photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.assessor import SimpleAssessor
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.card import RegisteredModel
from triage.domain.ids import AttachmentId, ModelVersionId
from triage.domain.limits import IntakeLimits, RetryRules
from triage.domain.messages import Acceptance, ClaimedAttachment, IncomingAttachment, IncomingMessage
from triage.domain.photos import (
    AssessedBatch,
    Assessment,
    Failed,
    Finding,
    NotAssessable,
    PhotoFacts,
    PhotoScore,
    Scored,
)
from triage.domain.states import FindingKind, FindingLevel
from triage.domain.text import UNDETERMINED
from triage.errors import ErrorCode
from triage.files.hashing import sha256_of
from triage.intake import Intake
from triage.retakes.policy import RetakePolicy
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.inbox import Inbox
from triage.storage.database import Sessions


@dataclass
class ScriptedAssessor(SimpleAssessor):
    """Scores by the last part of a photo's URI: a number, `unreadable` or `fails`.

    Findings follow the number; one with an exclamation mark is severe.
    """

    model_version_id: ModelVersionId
    seen: list[AttachmentId] = field(default_factory=list)

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        self.seen += [attachment.id for attachment in attachments]
        return AssessedBatch(self.model_version_id, 0.5, [self._one(attachment) for attachment in attachments])

    @staticmethod
    def _one(attachment: ClaimedAttachment) -> Assessment:
        assert attachment.uri is not None
        name = attachment.uri.rsplit("/", 1)[1]
        sha256 = sha256_of(attachment.uri.encode())
        if name == "unreadable":
            return NotAssessable(attachment.id, ErrorCode.CORRUPT, sha256)
        if name == "fails":
            return Failed(attachment.id, ErrorCode.SCORING_FAILED)
        score, *findings = name.split(",")
        return replace(scored(attachment.id, float(score), sha256), findings=tuple(map(_finding, findings)))


def _finding(name: str) -> Finding:
    level = FindingLevel.SEVERE if name.endswith("!") else FindingLevel.MILD
    return Finding(FindingKind(name.rstrip("!")), level, 0.9)


def scored(attachment_id: AttachmentId, score: float, sha256: str = "a" * 64) -> Scored:
    photo = PhotoScore((score, score, score, score), (score,) * 5, score, 4 if score > 0.5 else 0)
    return Scored(attachment_id, PhotoFacts(sha256, 100, 100, "image/jpeg"), photo, acceptable=score >= 0.5)


@dataclass
class WithShadow(SimpleAssessor):
    """The scripted assessor, with a shadow model that inverts each score."""

    live: ScriptedAssessor
    shadow: ModelVersionId

    def assess(self, attachments: Sequence[ClaimedAttachment]) -> AssessedBatch:
        batch = self.live.assess(attachments)
        inverted = [scored(item.id, 1 - item.score.score) for item in batch.assessments if isinstance(item, Scored)]
        return replace(batch, shadows=[AssessedBatch(self.shadow, 0.5, inverted)])


@dataclass
class Clinic:
    """Sends messages as a message system does, and drains the inbox as a worker does."""

    sessions: Sessions
    intake: Intake
    inbox: Inbox
    assessor: ScriptedAssessor
    policy: RetakePolicy
    wake_ups: list[int]

    def send(
        self,
        message: str,
        *photos: str,
        source: str = "ehr",
        thread: str | None = None,
        group: str | None = None,
        opted_out: bool = False,
        locale: str = UNDETERMINED,
    ) -> Acceptance:
        """Sends a message.

        Args:
            photos: what `ScriptedAssessor` reads, with a prefix that makes their bytes differ, such as `a/0.3` or
                `a/0.3,too_dark,motion!`.
        """
        attachments = [
            IncomingAttachment(uri=f"file:///in/{photo}", external_id=photo, group=group) for photo in photos
        ]
        [acceptance] = self.intake.enqueue(
            [IncomingMessage(source, message, attachments, thread=thread, opted_out=opted_out, locale=locale)]
        )
        return acceptance

    def drain(self) -> None:
        drain(self.inbox, lambda: self.assessor, DrainLimits(photos_per_batch=4, seconds=60))

    def decisions(self, message: str) -> list[tuple[str, str]]:
        """(outcome, reason) of each decision, in the order in which they were made."""
        return [
            (row.outcome, row.reason)
            for row in self.query(
                "SELECT d.outcome, d.reason FROM decision d JOIN message m ON m.id = d.message_id "
                "WHERE m.external_id = :message ORDER BY d.id",
                message=message,
            )
        ]

    def requests(self) -> list[tuple[str, str]]:
        """(message, status) of each retake request, in the order in which they were flagged."""
        return [
            (row.external_id, row.status)
            for row in self.query(
                "SELECT m.external_id, r.status "
                "FROM retake_request r JOIN message m ON m.id = r.message_id ORDER BY r.id"
            )
        ]

    def query(self, sql: str, **parameters: object) -> Sequence[Any]:
        with self.sessions() as session:
            return session.execute(text(sql), parameters).all()

    def execute(self, sql: str) -> None:
        with self.sessions.begin() as session:
            session.execute(text(sql))

    def let_time_pass(self, hours: float) -> None:
        """Makes every retake request older by this time."""
        with self.sessions.begin() as session:
            session.execute(
                text("UPDATE retake_request SET created_at = created_at - make_interval(secs => :seconds)"),
                {"seconds": 3600 * hours},
            )


@pytest.fixture
def make_clinic(
    sessions: Sessions, live_model: RegisteredModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Clinic]:
    def make(
        *, lease_seconds: float = 60, max_attempts: int = 3, max_lost_leases: int = 10, max_attachments: int = 20
    ) -> Clinic:
        policy, wake_ups = RetakePolicy(), list[int]()
        intake = Intake(
            sessions,
            BlobStore(str(tmp_path_factory.mktemp("blobs"))),
            UriPolicy(["file:///in"], max_bytes=1000),
            limits=IntakeLimits(max_attachments=max_attachments, max_bytes=1000),
            policy=policy,
            wake_up=lambda: wake_ups.append(1),
        )
        inbox = Inbox(
            sessions,
            lease=timedelta(seconds=lease_seconds),
            rules=RetryRules(max_attempts, max_lost_leases, timedelta(0)),
            policy=policy,
        )
        return Clinic(sessions, intake, inbox, ScriptedAssessor(live_model.id), policy, wake_ups)

    return make


@pytest.fixture
def clinic(make_clinic: Callable[..., Clinic]) -> Clinic:
    return make_clinic()
