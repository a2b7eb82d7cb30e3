"""The id that the store of photos of this database carries. Its row is the lock under which the id is written."""

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from triage.storage.tables import PhotoStore


def marker(session: Session) -> UUID | None:
    """The id of the store, or None before it was set up."""
    return session.scalar(select(PhotoStore.marker).where(PhotoStore.set_up_at.is_not(None)))


def lock(session: Session) -> UUID:
    """Locks the row, and returns the id for the store, which may not be set up yet."""
    return session.scalars(select(PhotoStore.marker).with_for_update()).one()


def record(session: Session, id_: UUID) -> None:
    """Records that the store carries this id. The caller holds the lock."""
    session.execute(update(PhotoStore).values(marker=id_, set_up_at=func.clock_timestamp()))
