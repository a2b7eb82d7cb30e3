"""The tables. Keys are UUIDv7, times are `timestamptz`; constraints have names, indexes name the query they serve."""

from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Sequence,
    SmallInteger,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import (
    ArchivedKind,
    ArrivalError,
    ArrivalStatus,
    AttachmentStatus,
    DecidedBy,
    DeliveryError,
    DeliveryStatus,
    EventKind,
    Outcome,
    Reason,
    RetakeStatus,
    RunKind,
    RunStatus,
    Stage,
    VerdictOrigin,
)
from triage.storage.base import Base, key, now, one_of

# Partial indexes and their queries share a predicate, so that the planner can always use the index.
FRESH: Final = text("status = 'pending' AND attempts = 0 AND lost_leases = 0")
RETRY: Final = text("status = 'pending' AND (attempts > 0 OR lost_leases > 0)")
UNREAD: Final = text("status = 'pending' AND storage_faults > 0")
LEASED: Final = text("status = 'in_progress'")
LIVE: Final = text("stage = 'live'")
OPEN_REQUEST: Final = text("status IN ('flagged', 'claimed')")
UNDELIVERED: Final = text("status = 'pending'")
DEAD: Final = text("status = 'dead'")
CLOSED_DELIVERY: Final = text("status IN ('delivered', 'dropped')")
UNREAD_ARRIVAL: Final = text("status = 'pending'")
READ_ARRIVAL: Final = text("status <> 'pending'")
DEAD_ARRIVAL: Final = text("status = 'dead'")
OPEN_RUN: Final = text("status IN ('pending', 'running')")
UNMARKED: Final = text("purge_after IS NULL")
NUMBERED: Final = text("position IS NOT NULL")
UNNUMBERED: Final = text("position IS NULL")
PURGED: Final = text("purged_at IS NOT NULL")
TO_PURGE: Final = text("purge_after IS NOT NULL AND purged_at IS NULL")


class Thread(Base):
    """A conversation. Its row is the lock under which the messages of the thread are decided one after another.

    `archived_at` is set only in the transaction that archives the thread. It allows deleting the thread's rows.
    """

    __tablename__ = "thread"
    __table_args__ = (UniqueConstraint("source", "external_id"),)

    id: Mapped[UUID] = key()
    source: Mapped[str]
    external_id: Mapped[str]
    archived_at: Mapped[datetime | None]


class OptOut(Base):
    """A thread that has opted out of retake requests: a hash, so that neither archiving nor forgetting ends it."""

    __tablename__ = "opt_out"
    __table_args__ = (UniqueConstraint("thread_sha256"),)

    id: Mapped[UUID] = key()
    thread_sha256: Mapped[str]
    created_at: Mapped[datetime] = now()


class Message(Base):
    __tablename__ = "message"
    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        Index("ix_message__received_at", "received_at", info={"query": "reports: messages since a time"}),
        Index("ix_message__thread_id", "thread_id", info={"query": "decisions: a thread's earlier photos"}),
        Index(
            "ix_message__undecided",
            "received_at",
            postgresql_where=text("current_decision_id IS NULL"),
            info={"query": "reports: oldest pending message"},
        ),
        Index(
            "ix_message__external_id",
            "external_id",
            info={"query": "commands: a message by its sender's id without a source"},
        ),
        Index(
            "ix_message__current_decision_id",
            "current_decision_id",
            info={"query": "archive: the message of a decision to delete"},
        ),
        Index(
            "ix_message__forgotten_at",
            "forgotten_at",
            postgresql_where=text("forgotten_at IS NOT NULL"),
            info={"query": "reports: messages forgotten"},
        ),
    )

    id: Mapped[UUID] = key()
    source: Mapped[str]
    external_id: Mapped[str]
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("thread.id"))
    role: Mapped[str]
    locale: Mapped[str]
    opted_out: Mapped[bool]
    received_at: Mapped[datetime] = now()
    current_decision_id: Mapped[UUID | None] = mapped_column(ForeignKey("decision.id", use_alter=True))
    forgotten_at: Mapped[datetime | None]


class Origin(Base):
    """What a message refers to on the system that it was read from. Deleted when the message is forgotten or old."""

    __tablename__ = "origin"
    __table_args__ = (Index("ix_origin__created_at", "created_at", info={"query": "retention: the oldest references"}),)

    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"), primary_key=True)
    subject: Mapped[str | None]
    author: Mapped[str | None]
    encounter: Mapped[str | None]
    created_at: Mapped[datetime] = now()


class Blob(Base):
    """Bytes in the blob store. `purge_after` marks them for deletion, `purged_at` records the deletion."""

    __tablename__ = "blob"
    __table_args__ = (
        Index(
            "ix_blob__to_purge",
            "purge_after",
            postgresql_where=TO_PURGE,
            info={"query": "retention: blobs marked for deletion whose bytes still exist"},
        ),
        Index(
            "ix_blob__unmarked",
            "created_at",
            postgresql_where=UNMARKED,
            info={"query": "retention: the oldest blobs not marked for deletion"},
        ),
        Index("ix_blob__purged_at", "purged_at", postgresql_where=PURGED, info={"query": "reports: photos purged"}),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    media_type: Mapped[str | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = now()
    purge_after: Mapped[datetime | None]
    purged_at: Mapped[datetime | None]


class PhotoStore(Base):
    """A single row: the id that the store of photos carries as its marker, and when the store was set up."""

    __tablename__ = "photo_store"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="1")
    marker: Mapped[UUID]
    set_up_at: Mapped[datetime | None]


class Attachment(Base):
    """A photo and its place in the queue.

    `attempts` counts failures, and the attempt that is running or succeeded. `lost_leases` counts leases that expired
    without a result: a killed worker says little about the photos that it held. `storage_faults` counts reads that
    failed because of the storage.
    """

    __tablename__ = "attachment"
    __table_args__ = (
        UniqueConstraint("message_id", "external_id"),
        one_of("status", AttachmentStatus),
        CheckConstraint(  # a forgotten attachment is finished and has no content
            "sha256 IS NOT NULL OR uri IS NOT NULL OR error_code IS NOT NULL OR finished_at IS NOT NULL",
            name="has_content",
        ),
        CheckConstraint("(status = 'in_progress') = (lease_token IS NOT NULL)", name="lease"),
        CheckConstraint("(status = 'not_assessable') = (error_code IS NOT NULL)", name="error_code"),
        Index(
            "ix_attachment__fresh",
            "due_at",
            "id",
            postgresql_where=FRESH,
            info={"query": "inbox: claim of photos never attempted"},
        ),
        Index(
            "ix_attachment__retry",
            "due_at",
            "id",
            postgresql_where=RETRY,
            info={"query": "inbox: claim of one photo that failed or was lost before"},
        ),
        Index(
            "ix_attachment__unread",
            "id",
            postgresql_where=UNREAD,
            info={"query": "health: photos whose storage did not provide their bytes"},
        ),
        Index(
            "ix_attachment__lease_until",
            "lease_until",
            postgresql_where=LEASED,
            info={"query": "inbox: sweep of expired leases"},
        ),
        Index("ix_attachment__sha256", "sha256", info={"query": "retention: the attachments of a blob"}),
    )

    id: Mapped[UUID] = key()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    external_id: Mapped[str]
    photo_group: Mapped[str | None]
    declared_type: Mapped[str | None]
    media_type: Mapped[str | None]
    sha256: Mapped[str | None]
    uri: Mapped[str | None]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lost_leases: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    storage_faults: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    error_code: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    finished_at: Mapped[datetime | None]


class ModelVersion(Base):
    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("weights_sha256"),
        one_of("stage", Stage),
        Index(
            "uq_model_version__live",
            "stage",
            unique=True,
            postgresql_where=LIVE,
            info={"query": "models: the live model, at most one"},
        ),
    )

    id: Mapped[UUID] = key()
    name: Mapped[str]
    weights_sha256: Mapped[str]
    card: Mapped[dict[str, Any]]
    stage: Mapped[str]
    created_at: Mapped[datetime] = now()
    promoted_at: Mapped[datetime | None]


class Run(Base):
    """A training or rescoring run. A worker holds its lease and renews it by heartbeats."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("dedupe_key"),
        one_of("kind", RunKind),
        one_of("status", RunStatus),
        Index(
            "ix_run__open",
            "kind",
            "created_at",
            postgresql_where=OPEN_RUN,
            info={"query": "runs: the next run to claim"},
        ),
    )

    id: Mapped[UUID] = key()
    kind: Mapped[str]
    status: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    dedupe_key: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Verdict(Base):
    """The verdict of a model on an attachment, written once.

    A trigger rejects every change with two exceptions: a shadow verdict may become one that counts, and archiving the
    thread deletes the row.
    """

    __tablename__ = "verdict"
    __table_args__ = (
        UniqueConstraint("attachment_id", "model_version_id"),
        one_of("origin", VerdictOrigin),
        Index(
            "ix_verdict__created_at", "created_at", info={"query": "reports: scores since a time; health by progress"}
        ),
        Index(
            "ix_verdict__run_id",
            "run_id",
            postgresql_where=text("run_id IS NOT NULL"),
            info={"query": "runs: verdicts of a rescoring"},
        ),
    )

    id: Mapped[UUID] = key()
    attachment_id: Mapped[UUID] = mapped_column(ForeignKey("attachment.id"))
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_version.id"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("run.id"))
    origin: Mapped[str]
    score: Mapped[float]
    threshold: Mapped[float]
    acceptable: Mapped[bool]
    grade: Mapped[int] = mapped_column(SmallInteger)
    cumulative: Mapped[list[float]]
    patch_scores: Mapped[list[float]]
    findings: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    width: Mapped[int]
    height: Mapped[int]
    n_frames: Mapped[int] = mapped_column(server_default="1")
    frame: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = now()


DECISION_POSITION: Final = Sequence("decision_position", metadata=Base.metadata)


class Decision(Base):
    """A decision on a message. Decisions are append-only: a new decision supersedes the previous one.

    `position` is the place in the feed of decisions, given to committed rows. A trigger rejects every other change with
    two exceptions: forgetting the message clears the note, and archiving the thread deletes the row.
    """

    __tablename__ = "decision"
    __table_args__ = (
        UniqueConstraint("supersedes_id"),
        one_of("outcome", Outcome),
        one_of("reason", Reason),
        one_of("decided_by", DecidedBy),
        CheckConstraint("(decided_by = 'person') = (actor IS NOT NULL)", name="actor"),
        Index(
            "uq_decision__first",
            "message_id",
            unique=True,
            postgresql_where=text("supersedes_id IS NULL"),
            info={"query": "decisions: at most one first decision for a message, so one chain"},
        ),
        Index("ix_decision__message_id", "message_id", info={"query": "explain: a message's decisions"}),
        # partial: Postgres would count the column of a complete unique index as part of the key, and lock its rows more
        Index(
            "uq_decision__position",
            "position",
            unique=True,
            postgresql_where=NUMBERED,
            info={"query": "feed: decisions after a cursor"},
        ),
        Index(
            "ix_decision__unnumbered",
            "created_at",
            "id",
            postgresql_where=UNNUMBERED,
            info={"query": "feed: decisions without a position"},
        ),
    )

    id: Mapped[UUID] = key()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    supersedes_id: Mapped[UUID | None] = mapped_column(ForeignKey("decision.id"))
    outcome: Mapped[str]
    reason: Mapped[str]
    decided_by: Mapped[str]
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))
    actor: Mapped[str | None]
    note: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    position: Mapped[int | None] = mapped_column(BigInteger)


class RetakeRequest(Base):
    """The outbox: the message system claims a request under a lease, sends it and acknowledges it.

    `photos` names the photos to take again by the ids of their attachments, with scores and reasons. `reply` is what
    the patient is sent; forgetting the message removes it.
    """

    __tablename__ = "retake_request"
    __table_args__ = (
        UniqueConstraint("decision_id"),
        one_of("status", RetakeStatus),
        CheckConstraint("(status = 'claimed') = (lease_until IS NOT NULL)", name="lease"),
        Index(
            "uq_retake_request__active",
            "message_id",
            unique=True,
            postgresql_where=text("status <> 'withdrawn'"),
            info={"query": "outbox: at most one request for a message"},
        ),
        Index(
            "ix_retake_request__open",
            "created_at",
            postgresql_where=OPEN_REQUEST,
            info={"query": "outbox: claim of unsent requests"},
        ),
        Index("ix_retake_request__message_id", "message_id", info={"query": "explain: a message's requests"}),
        Index("ix_retake_request__thread_id", "thread_id", info={"query": "decisions: a thread's earlier requests"}),
        Index("ix_retake_request__status", "status", "created_at", info={"query": "retakes: the newest of a status"}),
        Index("ix_retake_request__created_at", "created_at", info={"query": "reports: requests since a time"}),
    )

    id: Mapped[UUID] = key()
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    thread_id: Mapped[UUID] = mapped_column(ForeignKey("thread.id"))
    decision_id: Mapped[UUID] = mapped_column(ForeignKey("decision.id"))
    photos: Mapped[list[Any]] = mapped_column(server_default=text("'[]'::jsonb"))
    reply: Mapped[dict[str, Any] | None]
    status: Mapped[str]
    claimed_by: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = now()
    sent_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_reason: Mapped[str | None]
    answered_at: Mapped[datetime | None]


class ApiClient(Base):
    """A system that may call the HTTP interface: by a random key, of which a hash is stored, or by its public keys.

    After a rotation the previous key is accepted until `previous_key_until`.
    """

    __tablename__ = "api_client"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("key_sha256"),
        CheckConstraint("num_nonnulls(key_sha256, jwks, jwks_url) = 1", name="one_credential"),
    )

    id: Mapped[UUID] = key()
    name: Mapped[str]
    scopes: Mapped[list[str]]
    key_sha256: Mapped[str | None]
    previous_key_sha256: Mapped[str | None]
    previous_key_until: Mapped[datetime | None]
    jwks: Mapped[dict[str, Any] | None]
    jwks_url: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    revoked_at: Mapped[datetime | None]


class ApiToken(Base):
    """A short-lived access token of a client, by its hash."""

    __tablename__ = "api_token"
    __table_args__ = (
        Index("ix_api_token__valid_until", "valid_until", info={"query": "clients: access tokens that have expired"}),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("api_client.id"))
    scopes: Mapped[list[str]]
    valid_until: Mapped[datetime]


class UsedAssertion(Base):
    """The id (`jti`) of an assertion with which a client has authenticated, by its hash, so that none serves twice."""

    __tablename__ = "used_assertion"
    __table_args__ = (
        Index("ix_used_assertion__valid_until", "valid_until", info={"query": "clients: assertions that have expired"}),
    )

    client_id: Mapped[UUID] = mapped_column(ForeignKey("api_client.id"), primary_key=True)
    jti_sha256: Mapped[str] = mapped_column(primary_key=True)
    valid_until: Mapped[datetime]


class DeliveryTarget(Base):
    """A system that is told of events. Without a row here, no event is stored."""

    __tablename__ = "delivery_target"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = now()


class Delivery(Base):
    """An event on its way to one target. It names rows and holds no data of a sender; its id is that of the event.

    A sender claims a row by setting `lease_token` and moving `due_at` to the end of its lease, so a row of a killed
    sender becomes due again without further action. `subject_id` is a decision or a retake request.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        one_of("kind", EventKind),
        one_of("status", DeliveryStatus),
        one_of("error", DeliveryError),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        Index(
            "ix_delivery__due",
            "target",
            "due_at",
            postgresql_where=UNDELIVERED,
            info={"query": "deliveries: claim of events to send"},
        ),
        Index(
            "ix_delivery__dead",
            "target",
            "id",
            postgresql_where=DEAD,
            info={"query": "deliveries: those that a person retries or drops"},
        ),
        Index(
            "ix_delivery__closed",
            "finished_at",
            postgresql_where=CLOSED_DELIVERY,
            info={"query": "retention: delivered and dropped events to delete; metrics of the last day"},
        ),
        Index("ix_delivery__message_id", "message_id", info={"query": "forget, archive: the events of a message"}),
    )

    id: Mapped[UUID] = key()
    target: Mapped[str]
    kind: Mapped[str]
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id"))
    subject_id: Mapped[UUID]
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    error: Mapped[str | None]
    answer: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = now()
    first_attempt_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Assessment(Base):
    """A photo that is checked before it is sent, for the seconds that somebody waits for the answer.

    The table is not logged: neither the write-ahead log nor a standby gets what is deleted with the answer.
    """

    __tablename__ = "assessment"
    __table_args__ = {"prefixes": ["UNLOGGED"]}  # noqa: RUF012  # SQLAlchemy's way

    id: Mapped[UUID] = key()
    photo: Mapped[str]
    created_at: Mapped[datetime] = now()
    expires_at: Mapped[datetime]
    is_ready: Mapped[bool] = mapped_column(server_default=false())
    is_taken: Mapped[bool] = mapped_column(server_default=false())
    answer: Mapped[dict[str, Any] | None]


class ArrivalSource(Base):
    """A system that is searched for messages.

    Its messages are known up to the time `known_until`. A searcher sets `lease_token` and moves `due_at` to the end of
    its lease, as a sender does with a delivery.
    """

    __tablename__ = "arrival_source"

    name: Mapped[str] = mapped_column(primary_key=True)
    known_until: Mapped[datetime]
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]


class Arrival(Base):
    """A message that another system holds, to be read there. It has the message's reference there, and no content.

    A reader claims a row by setting `lease_token` and moving `due_at` to the end of its lease. `announced` counts the
    announcements: one that comes while the message is read has it read again. `version` is the one that was read.
    """

    __tablename__ = "arrival"
    __table_args__ = (
        UniqueConstraint("source", "reference"),
        one_of("status", ArrivalStatus),
        one_of("error", ArrivalError),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        CheckConstraint("(status = 'dead') = (error IS NOT NULL)", name="dead"),
        Index(
            "ix_arrival__due",
            "source",
            "due_at",
            postgresql_where=UNREAD_ARRIVAL,
            info={"query": "arrivals: claim of messages to read"},
        ),
        Index(
            "ix_arrival__dead",
            "source",
            "id",
            postgresql_where=DEAD_ARRIVAL,
            info={"query": "arrivals: those that cannot be read"},
        ),
        Index(
            "ix_arrival__read",
            "finished_at",
            postgresql_where=READ_ARRIVAL,
            info={"query": "retention: messages that were read long ago"},
        ),
    )

    id: Mapped[UUID] = key()
    source: Mapped[str]
    reference: Mapped[str]
    version: Mapped[str | None]
    announced: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str]
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime] = now()
    lease_token: Mapped[UUID | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = now()
    finished_at: Mapped[datetime | None]


class ArchivedCount(Base):
    """How many rows of one kind, day (UTC) and group were deleted that reports still count. Append-only, without ids.

    `label` is the outcome, status, error code or flip. `total` is the sum of the scores of a bin, or of the differences
    between the scores of a shadow model and those that decided.
    """

    __tablename__ = "archived_count"
    __table_args__ = (
        one_of("kind", ArchivedKind),
        Index("ix_archived_count__kind", "kind", "day", info={"query": "reports: archived counts since a day"}),
        Index(
            "ix_archived_count__run_id",
            "run_id",
            postgresql_where=text("run_id IS NOT NULL"),
            info={"query": "runs: archived flips of a rescoring"},
        ),
    )

    id: Mapped[UUID] = key()
    kind: Mapped[str]
    day: Mapped[date]
    source: Mapped[str | None]
    role: Mapped[str | None]
    model_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("model_version.id"))
    run_id: Mapped[UUID | None] = mapped_column(ForeignKey("run.id"))
    label: Mapped[str | None]
    bin: Mapped[int | None] = mapped_column(SmallInteger)
    n: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[float | None]


class AuditEvent(Base):
    """Who did what to which row. Events are append-only; `details` holds ids, codes and counts only.

    A trigger sets the position, the hash of the preceding event and the hash of the event itself.
    """

    __tablename__ = "audit_event"
    __table_args__ = (
        UniqueConstraint("position"),
        Index("ix_audit_event__subject_id", "subject_id", info={"query": "explain: audit events of a message"}),
    )

    id: Mapped[UUID] = key()
    at: Mapped[datetime] = now()
    actor: Mapped[str]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    position: Mapped[int] = mapped_column(BigInteger)
    previous_hash: Mapped[str]
    hash: Mapped[str]


class AuditHead(Base):
    """A single row: the position and hash of the last audit event. It serialises writers and reveals a cut-off tail."""

    __tablename__ = "audit_head"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default="1")
    position: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str]


METADATA: Final = Base.metadata
"""All tables."""
