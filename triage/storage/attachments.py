"""Attachments and blobs as rows. Every insertion is idempotent."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Uuid

from triage.domain.ids import AttachmentId, MessageId, new_id
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode
from triage.storage.database import recordset
from triage.storage.messages import Key
from triage.storage.tables import Attachment, Blob


@dataclass(frozen=True, slots=True)
class NewAttachment:
    message: Key
    external_id: str
    photo_group: str | None
    declared_type: str | None
    media_type: str | None
    sha256: str | None
    uri: str | None = field(repr=False)
    error_code: ErrorCode | None


@dataclass(frozen=True, slots=True)
class NewBlob:
    sha256: str
    media_type: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    id: AttachmentId
    message_id: MessageId
    external_id: str
    status: AttachmentStatus
    error_code: ErrorCode | None
    photo_group: str | None
    declared_type: str | None
    sha256: str | None
    uri: str | None = field(repr=False)


def add_blobs(session: Session, blobs: Collection[NewBlob]) -> list[str]:
    """Inserts blobs whose bytes are in the store, and locks their rows until the transaction ends.

    Returns:
        The hashes of blobs that were marked for deletion. The caller has to keep them again, and to store their bytes
        again, because a purge may have deleted them.
    """
    if not blobs:
        return []
    rows: list[dict[str, Any]] = [
        {"sha256": blob.sha256, "media_type": blob.media_type, "size_bytes": blob.size_bytes}
        for blob in sorted(blobs, key=lambda blob: blob.sha256)
    ]
    new = recordset("new", rows, sha256=Text(), media_type=Text(), size_bytes=BigInteger())
    insertion = insert(Blob).from_select(list(new.c.keys()), select(new).order_by(new.c.sha256))
    statement = insertion.on_conflict_do_update(  # has no effect except to lock and return the existing row
        index_elements=[Blob.sha256], set_={"media_type": insertion.excluded.media_type}
    ).returning(Blob.sha256, Blob.purge_after)
    return [row.sha256 for row in session.execute(statement) if row.purge_after is not None]


def add_attachments(
    session: Session, attachments: Sequence[NewAttachment], messages: Mapping[Key, MessageId]
) -> set[AttachmentId]:
    """Inserts the attachments that are new and returns their ids. Attachments with an error code are not assessable."""
    rows = [
        {
            "id": new_id(),
            "message_id": messages[attachment.message],
            "external_id": attachment.external_id,
            "photo_group": attachment.photo_group,
            "declared_type": attachment.declared_type,
            "media_type": attachment.media_type,
            "sha256": attachment.sha256,
            "uri": attachment.uri,
            "status": AttachmentStatus.NOT_ASSESSABLE if attachment.error_code else AttachmentStatus.PENDING,
            "error_code": attachment.error_code,
        }
        for attachment in attachments
    ]
    text_columns = (
        "external_id",
        "photo_group",
        "declared_type",
        "media_type",
        "sha256",
        "uri",
        "status",
        "error_code",
    )
    new = recordset("new", rows, id=Uuid(), message_id=Uuid(), **dict.fromkeys(text_columns, Text()))
    created = session.scalars(
        insert(Attachment)
        .from_select(list(new.c.keys()), select(new))
        .on_conflict_do_nothing()
        .returning(Attachment.id)
    )
    return set(map(AttachmentId, created))


def list_attachments(session: Session, message_ids: Collection[MessageId]) -> list[StoredAttachment]:
    """The attachments of these messages, in the order of their receipt."""
    rows = session.execute(
        select(
            Attachment.id,
            Attachment.message_id,
            Attachment.external_id,
            Attachment.status,
            Attachment.error_code,
            Attachment.photo_group,
            Attachment.declared_type,
            Attachment.sha256,
            Attachment.uri,
        )
        .where(Attachment.message_id == func.any(list(message_ids)))
        .order_by(Attachment.id)
    )
    return [
        StoredAttachment(
            AttachmentId(row.id),
            MessageId(row.message_id),
            row.external_id,
            AttachmentStatus(row.status),
            ErrorCode(row.error_code) if row.error_code else None,
            row.photo_group,
            row.declared_type,
            row.sha256,
            row.uri,
        )
        for row in rows
    ]


def is_purged(session: Session, sha256: str) -> bool:
    """Whether the bytes of a blob were deleted from the store."""
    purged = select(exists().where(Blob.sha256 == sha256, Blob.purged_at.is_not(None)))
    return bool(session.scalar(purged))
