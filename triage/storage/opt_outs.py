"""Threads that have opted out of retake requests, by a hash of their keys."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.ids import new_id
from triage.files.hashing import sha256_of
from triage.storage.messages import Key
from triage.storage.tables import OptOut


def add(session: Session, thread: Key) -> UUID | None:
    """Records that a thread has opted out; returns the id of the record, or None if there was one."""
    insertion = insert(OptOut).values(id=new_id(), thread_sha256=_hash(thread)).on_conflict_do_nothing()
    return session.scalars(insertion.returning(OptOut.id)).one_or_none()


def remove(session: Session, thread: Key) -> UUID | None:
    """Removes the record of a thread; returns its id, or None if there was none."""
    deletion = delete(OptOut).where(OptOut.thread_sha256 == _hash(thread))
    return session.scalars(deletion.returning(OptOut.id)).one_or_none()


def among(session: Session, threads: Collection[Key]) -> set[Key]:
    """The threads among these that have opted out. The caller holds their locks."""
    hashes = {_hash(thread): thread for thread in threads}
    found = session.scalars(select(OptOut.thread_sha256).where(OptOut.thread_sha256 == func.any(list(hashes))))
    return {hashes[each] for each in found}


def _hash(thread: Key) -> str:
    return sha256_of("\0".join(thread).encode())  # neither part contains U+0000
