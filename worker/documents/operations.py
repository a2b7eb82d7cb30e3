"""Operations: runs, retention, the audit trail, and the state of the deployment."""

from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from pydantic import Field

from triage.domain.audit import Verification
from triage.domain.checks import Check
from triage.domain.runs import Run, Wait, WaitReason
from triage.domain.states import RunKind, RunStatus
from worker.documents.document import Document, UtcTime

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy, Celery and Redis
    from triage.retention.forget import Forgotten
    from triage.retention.forget_archived import Rewritten
    from triage.scoring.retry import Requeued


class WaitDocument(Document):
    """Why a training run waits, and the run that is trained or started before it, if one is."""

    reason: WaitReason
    run: UUID | None


class RunDocument(Document):
    """A training or rescoring run. The keys of `parameters` and `progress` depend on its kind."""

    id: UUID
    kind: RunKind
    status: RunStatus
    parameters: dict[str, Any]
    progress: dict[str, Any]
    error: str | None
    created_at: UtcTime
    started_at: UtcTime | None
    heartbeat_at: UtcTime | None
    finished_at: UtcTime | None
    wait: WaitDocument | None = Field(default=None, description="only of a training run that waits for a worker")

    @classmethod
    def of(cls, run: Run, wait: Wait | None = None) -> Self:
        return cls(
            id=run.id,
            kind=run.kind,
            status=run.status,
            parameters=dict(run.parameters),
            progress=dict(run.progress),
            error=run.error,
            created_at=run.created_at,
            started_at=run.started_at,
            heartbeat_at=run.heartbeat_at,
            finished_at=run.finished_at,
            **({"wait": WaitDocument(reason=wait.reason, run=wait.run_id)} if wait else {}),
        )


class PurgeDocument(Document):
    """Photos removed or, in a dry run, to be removed. `strays` counts files without a row."""

    days: float | None
    dry_run: bool
    photos: int
    bytes: int
    strays: int


class RequeuedDocument(Document):
    """Parked photos that are pending again, and their messages. `without_bytes` counts those that stay parked."""

    photos: int
    messages: int
    without_bytes: int

    @classmethod
    def of(cls, requeued: "Requeued") -> Self:
        return cls(photos=requeued.photos, messages=requeued.messages, without_bytes=requeued.without_bytes)


class AdoptedStoreDocument(Document):
    """A store of photos that belongs to the database from now on, and the id in its marker."""

    id: UUID


class ForgottenDocument(Document):
    """A forgotten message. `photos_shared` counts photos kept because another message has the same bytes."""

    id: UUID
    photos: int
    photos_removed: int
    photos_shared: int
    requests_withdrawn: int

    @classmethod
    def of(cls, forgotten: "Forgotten") -> Self:
        return cls(
            id=forgotten.message_id,
            photos=forgotten.photos,
            photos_removed=forgotten.photos_removed,
            photos_shared=forgotten.photos_shared,
            requests_withdrawn=forgotten.requests_withdrawn,
        )


class RewrittenFileDocument(Document):
    """An archive file that replaces an older one, and the messages forgotten in it."""

    file: str
    sha256: str
    messages: list[UUID]

    @classmethod
    def of(cls, rewritten: "Rewritten") -> Self:
        return cls(file=str(rewritten.file), sha256=rewritten.sha256, messages=list(rewritten.messages))


class ArchiveFileDocument(Document):
    file: str
    sha256: str


class ArchivePreviewDocument(Document):
    """The number of threads that would be archived."""

    before: UtcTime
    dry_run: bool
    threads: int


class ArchiveDocument(ArchivePreviewDocument):
    """The rows archived, and the files that hold them."""

    messages: int
    attachments: int
    verdicts: int
    files: list[ArchiveFileDocument]


class FlawDocument(Document):
    position: int
    kind: str
    event_id: UUID | None


class VerificationDocument(Document):
    """The result of verifying the audit trail. `head` is its end, as POSITION:HASH."""

    ok: bool
    events: int
    head: str
    flaws: list[FlawDocument]

    @classmethod
    def of(cls, verification: Verification) -> Self:
        return cls(
            ok=not verification.flaws,
            events=verification.events,
            head=str(verification.head),
            flaws=[
                FlawDocument(position=flaw.position, kind=flaw.kind, event_id=flaw.event_id)
                for flaw in verification.flaws
            ],
        )


class CheckDocument(Document):
    """One check of `doctor`. `remedy` says what to do if it failed."""

    name: str
    ok: bool
    detail: str
    remedy: str | None

    @classmethod
    def of(cls, check: Check) -> Self:
        return cls(name=check.name, ok=check.ok, detail=check.detail, remedy=check.remedy or None)


class PartDocument(Document):
    """Whether a part of the embedded deployment runs on this machine."""

    running: bool
    pid: int | None
