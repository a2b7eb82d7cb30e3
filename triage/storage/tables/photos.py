"""Photos: their bytes, their store and their place in the queue."""

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from triage.domain.states import AttachmentStatus
from triage.storage.base import Base, key, now, one_of

TO_PURGE: Final = text("purge_after IS NOT NULL AND purged_at IS NULL")
UNMARKED: Final = text("purge_after IS NULL")
PURGED: Final = text("purged_at IS NOT NULL")
FRESH: Final = text("status = 'pending' AND attempts = 0 AND lost_leases = 0")
RETRY: Final = text("status = 'pending' AND (attempts > 0 OR lost_leases > 0)")
UNREAD: Final = text("status = 'pending' AND storage_faults > 0")
LEASED: Final = text("status = 'in_progress'")


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
