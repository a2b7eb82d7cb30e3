"""Blobs to delete: expired, unreferenced or orphaned.

The row of a blob is the lock of its bytes: intake locks it while it accepts a photo, and a purge while it deletes one.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, TextClause, delete, exists, func, literal, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger

from triage.domain.ids import MessageId, new_id
from triage.domain.states import ArchivedKind, AttachmentStatus
from triage.storage import archived_counts
from triage.storage.database import recordset
from triage.storage.tables import TO_PURGE, UNMARKED, Attachment, Blob, ModelVersion

_OPEN: Final = Attachment.status.in_([AttachmentStatus.PENDING, AttachmentStatus.IN_PROGRESS])
_ROW_KEPT: Final = timedelta(days=1)
"""How long the row of a purged, unreferenced blob is kept: longer than any submission takes."""


@dataclass(frozen=True, slots=True)
class DueBlob:
    sha256: str
    size_bytes: int


def mark_older_than(session: Session, age: timedelta, *, limit: int) -> int:
    """Marks blobs for deletion whose attachments are all finished and were all received that long ago.

    Returns:
        The number of blobs marked. It is less than the limit if no more remain.
    """
    needed = _needed(_ago(age))
    old = Blob.created_at < _ago(age)
    candidates = session.scalars(
        select(Blob.sha256)
        .where(UNMARKED, old, ~needed)
        .order_by(Blob.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    return len(_mark(session, candidates, needed))  # checked again under the lock: a submission may have come first


def count_older_than(session: Session, age: timedelta) -> tuple[int, int]:
    """The number of blobs, and their bytes, that a purge with this age would delete, including those marked already."""
    due = UNMARKED & (Blob.created_at < _ago(age)) & ~_needed(_ago(age))
    (photos, size), (marked, marked_size) = _count(session, due), count_marked(session)
    return photos + marked, size + marked_size


def count_marked(session: Session) -> tuple[int, int]:
    """The number of blobs marked for deletion, and their bytes."""
    return _count(session, TO_PURGE)


def _count(session: Session, which: ColumnElement[bool] | TextClause) -> tuple[int, int]:
    row = session.execute(select(func.count(), func.coalesce(func.sum(Blob.size_bytes), 0)).where(which)).one()
    return int(row[0]), int(row[1])


def lock_blobs_of(session: Session, message_id: MessageId) -> list[str]:
    """Locks the blobs of a message's photos, in the same order as intake, and returns their hashes."""
    hashes = select(Attachment.sha256).where(Attachment.message_id == message_id, Attachment.uri.is_(None))
    return lock_blobs(session, [row for row in session.scalars(hashes) if row is not None])


def lock_blobs(session: Session, hashes: Collection[str]) -> list[str]:
    """Locks the blobs among these that exist, in the same order as intake, and returns their hashes."""
    blobs = select(Blob.sha256).where(Blob.sha256 == func.any(list(hashes)))
    return list(session.scalars(blobs.order_by(Blob.sha256).with_for_update()))


def mark_unreferenced(session: Session, hashes: Collection[str]) -> list[str]:
    """Marks unreferenced blobs among these for deletion and returns their hashes. The caller holds their locks."""
    return _mark(session, hashes, exists(select(Attachment.id).where(Attachment.sha256 == Blob.sha256)))


def take_due(session: Session, *, limit: int, among: Collection[str] | None = None) -> list[DueBlob]:
    """Locks marked blobs and returns those to delete now, never a blob whose photo is still to be scored."""
    query = select(Blob.sha256, Blob.size_bytes).where(TO_PURGE, Blob.purge_after <= func.clock_timestamp())
    if among is not None:
        query = query.where(Blob.sha256 == func.any(list(among)))
    locked = session.execute(query.order_by(Blob.purge_after).limit(limit).with_for_update(skip_locked=True)).all()
    pending = set(
        session.scalars(
            select(Attachment.sha256).where(
                Attachment.sha256 == func.any([row.sha256 for row in locked]), Attachment.uri.is_(None), _OPEN
            )
        )
    )
    return [DueBlob(row.sha256, row.size_bytes) for row in locked if row.sha256 not in pending]


def purged(session: Session, hashes: Collection[str]) -> None:
    """Records that the bytes of these blobs are deleted. The caller holds their locks."""
    session.execute(update(Blob).where(Blob.sha256 == func.any(list(hashes))).values(purged_at=func.clock_timestamp()))


def forget_unreferenced(session: Session) -> int:
    """Deletes the rows of purged, unreferenced blobs, so that their hashes are forgotten, and returns their number.

    Reports still count them.
    """
    purged_at = session.scalars(
        delete(Blob)
        .where(
            Blob.purged_at < _ago(_ROW_KEPT),
            ~exists(select(Attachment.id).where(Attachment.sha256 == Blob.sha256)),
        )
        .returning(Blob.purged_at)
    ).all()
    archived_counts.keep_count(session, ArchivedKind.PURGED, [moment for moment in purged_at if moment is not None])
    return len(purged_at)


def unknown_among(session: Session, hashes: Collection[str]) -> list[str]:
    """The hashes among these that belong neither to a blob nor to the weights of a model."""
    rows = recordset("stored", [{"sha256": sha256} for sha256 in hashes], sha256=Text())
    return list(
        session.scalars(
            select(rows.c.sha256).where(
                ~exists(select(Blob.sha256).where(Blob.sha256 == rows.c.sha256)),
                ~exists(select(ModelVersion.id).where(ModelVersion.weights_sha256 == rows.c.sha256)),
            )
        )
    )


def adopt(session: Session, sizes: dict[str, int]) -> int:
    """Inserts rows for orphaned bytes, marked for deletion, so that the usual locks apply. Returns their number."""
    if not sizes:
        return 0
    rows = recordset(
        "stray",
        [{"sha256": sha256, "size_bytes": size} for sha256, size in sorted(sizes.items())],
        sha256=Text(),
        size_bytes=BigInteger(),
    )
    insertion = insert(Blob).from_select(
        ["sha256", "size_bytes", "purge_after"],
        select(rows.c.sha256, rows.c.size_bytes, func.clock_timestamp()).order_by(rows.c.sha256),
    )
    return len(session.scalars(insertion.on_conflict_do_nothing().returning(Blob.sha256)).all())


def keep_again(session: Session, hashes: Collection[str]) -> None:
    """Unmarks these blobs, because a photo with the same bytes was received. The caller holds their locks."""
    session.execute(
        update(Blob).where(Blob.sha256 == func.any(list(hashes))).values(purge_after=null(), purged_at=null())
    )


def forget_message(session: Session, message_id: MessageId, *, actor: str, reason: str) -> None:
    """Removes everything that identifies a patient from a message's rows, and appends an audit event."""
    session.execute(select(func.forget_message(new_id(), message_id, actor, reason)))
    session.expire_all()


def bytes_are_there(photo: Any = Attachment) -> ColumnElement[bool]:
    """Condition on an attachment, or an alias of it: its bytes can be fetched again, from the blob store or its URI."""
    gone = exists(
        select(Blob.sha256).where(Blob.sha256 == photo.sha256, photo.uri.is_(None), Blob.purge_after.is_not(None))
    )
    return or_(photo.uri.is_not(None), photo.sha256.is_not(None)) & ~gone


def _ago(age: timedelta) -> ColumnElement[datetime]:
    """That long before this statement. `statement_timestamp()` is stable, so an index is usable."""
    return func.statement_timestamp() - age


def _needed(received_since: ColumnElement[datetime]) -> ColumnElement[bool]:
    return exists(
        select(literal(1)).where(
            Attachment.sha256 == Blob.sha256,
            Attachment.uri.is_(None),
            or_(_OPEN, Attachment.created_at >= received_since),
        )
    )


def _mark(session: Session, hashes: Collection[str], needed: ColumnElement[bool]) -> list[str]:
    if not hashes:
        return []
    rows = session.scalars(
        update(Blob)
        .where(Blob.sha256 == func.any(list(hashes)), ~needed)
        .values(purge_after=func.coalesce(Blob.purge_after, func.clock_timestamp()))
        .returning(Blob.sha256),
        execution_options={"synchronize_session": False},
    ).all()
    return list(rows)
