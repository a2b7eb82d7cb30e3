"""Messages, attachments and blobs as rows. Every insertion is idempotent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Text, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, Boolean, Uuid

from triage.domain.ids import AttachmentId, MessageId, ThreadId, new_id
from triage.domain.states import AttachmentStatus
from triage.errors import ErrorCode, UsageError
from triage.storage.database import recordset
from triage.storage.tables import Attachment, Blob, Message, Thread

Key = tuple[str, str]
"""(source, external id) of a message or a thread."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    key: Key
    thread: Key
    role: str
    locale: str
    opted_out: bool


@dataclass(frozen=True, slots=True)
class NewAttachment:
    message: Key
    external_id: str
    photo_group: str | None
    declared_type: str | None
    media_type: str | None
    sha256: str | None
    uri: str | None
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


def add_threads(session: Session, keys: Collection[Key]) -> dict[Key, ThreadId]:
    """Inserts the threads that are new, locks all of these threads in a fixed order, and returns their ids."""
    found: dict[Key, ThreadId] = {}
    while len(found) < len(keys):  # repeats if an existing thread was archived or forgotten concurrently
        rows = [{"id": new_id(), "source": source, "external_id": external_id} for source, external_id in sorted(keys)]
        new = recordset("new", rows, id=Uuid(), source=Text(), external_id=Text())
        session.execute(
            insert(Thread)
            .from_select(["id", "source", "external_id"], select(new).order_by(new.c.source, new.c.external_id))
            .on_conflict_do_nothing()
        )
        locked = session.execute(
            select(Thread.id, Thread.source, Thread.external_id)
            .join(new, (Thread.source == new.c.source) & (Thread.external_id == new.c.external_id))
            .order_by(Thread.id)
            .with_for_update(of=Thread)
        )
        found = {(row.source, row.external_id): ThreadId(row.id) for row in locked}
    return found


def add_messages(
    session: Session, messages: Sequence[NewMessage], threads: dict[Key, ThreadId]
) -> tuple[dict[Key, MessageId], set[MessageId]]:
    """Inserts the messages that are new.

    Returns:
        The id of each message, new or not, and the ids of the new ones.
    """
    rows = [
        {
            "id": new_id(),
            "source": message.key[0],
            "external_id": message.key[1],
            "thread_id": threads[message.thread],
            "role": message.role,
            "locale": message.locale,
            "opted_out": message.opted_out,
        }
        for message in messages
    ]
    new = recordset(
        "new",
        rows,
        id=Uuid(),
        source=Text(),
        external_id=Text(),
        thread_id=Uuid(),
        role=Text(),
        locale=Text(),
        opted_out=Boolean(),
    )
    created = session.scalars(
        insert(Message)
        .from_select(list(new.c.keys()), select(new).order_by(new.c.source, new.c.external_id))
        .on_conflict_do_nothing()
        .returning(Message.id)
    ).all()
    found = session.execute(
        select(Message.id, Message.source, Message.external_id).join(
            new, (Message.source == new.c.source) & (Message.external_id == new.c.external_id)
        )
    )
    return {(row.source, row.external_id): MessageId(row.id) for row in found}, set(map(MessageId, created))


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
    session: Session, attachments: Sequence[NewAttachment], messages: dict[Key, MessageId]
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
        )
        for row in rows
    ]


def find_message(session: Session, name: str, source: str | None = None) -> Message:
    """Finds a message by the sender's id or its own.

    Args:
        session: of the caller's transaction.
        name: the id.
        source: the sender, required if several senders use the same id.

    Raises:
        UsageError: the message is unknown or ambiguous.
    """
    query = select(Message).where(Message.external_id == name)
    if source is not None:
        query = query.where(Message.source == source)
    found = session.scalars(query.limit(2)).all()
    if not found and (key := _uuid(name)) is not None:
        found = session.scalars(select(Message).where(Message.id == key)).all()
    if not found:
        raise _unknown()
    if len(found) > 1:
        raise UsageError("several sources use this message id: name one of them")
    return found[0]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _unknown() -> UsageError:
    return UsageError("no message has this id: check it, or submit the message first")


def lock_with_thread(session: Session, message_id: MessageId) -> Message:
    """Returns a message and locks its thread until the transaction ends, so that no other transaction decides it.

    Raises:
        UsageError: the message does not exist, or was archived.
    """
    thread_id = select(Message.thread_id).where(Message.id == message_id).scalar_subquery()
    session.execute(select(Thread.id).where(Thread.id == thread_id).with_for_update())
    message = session.get(Message, message_id, populate_existing=True)
    if message is None:
        raise _unknown()
    return message
