"""The store of photos that belongs to a database: both carry the same id, so that another volume is recognised.

An unmounted volume leaves an empty folder behind. Without the id, photos would be written into that folder, photos in
the volume would count as lost, and a store of another database as full of orphans.
"""

from uuid import UUID, uuid4

from triage.blobs.store import BlobStore
from triage.domain.actors import check_actor
from triage.errors import WrongBlobStoreError
from triage.storage import audit
from triage.storage import photo_store as rows
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


class PhotoStore:
    """Checks that a blob store is the one of a database. Safe to share between threads."""

    def __init__(self, sessions: Sessions, blobs: BlobStore) -> None:
        """
        Args:
            sessions: of the worker role.
            blobs: the store at the configured URL.
        """
        self._sessions = sessions
        self._blobs = blobs

    @use_case
    def check(self) -> bool:
        """Checks that the store is the one that the database was set up with. Creates nothing.

        Returns:
            Whether a store was set up. Before that, the database has no photos in it.

        Raises:
            WrongBlobStoreError: the store is empty, not mounted, or belongs to another database.
            BlobStoreUnavailableError: the store cannot be read.
        """
        found = self._blobs.marker()
        with self._sessions() as session:  # at each check: another store may have been adopted since
            expected = rows.marker(session)
        if expected is not None and found != expected:
            found = self._blobs.marker()  # another process may have set up or adopted a store in between
            if found != expected:
                raise _wrong(found)
        return expected is not None

    @use_case
    def set_up(self) -> None:
        """Checks the store as `check`; marks it as the store of this database if there was none before.

        Raises:
            BlobStoreUnavailableError: as `check`, or the store cannot be written.
        """
        if self.check():
            return
        with self._sessions.begin() as session:
            id_ = rows.lock(session)
            if rows.marker(session) is None:  # no other process was faster
                found = self._blobs.marker()
                if found not in {None, id_}:  # this id, if its process ended before the commit
                    raise _wrong(found)
                self._blobs.mark(id_)
                rows.record(session, id_)
        self.check()

    @use_case
    def adopt(self, *, by: str) -> UUID:
        """Makes the store at the configured URL the one of this database, such as a restored copy on a new volume.

        The store gets a new id, so that the volume that it replaces is refused.

        Args:
            by: actor id for the audit trail.

        Returns:
            The id.

        Raises:
            UsageError: the actor id is malformed.
            BlobStoreUnavailableError: the store does not exist, or cannot be written.
        """
        check_actor(by)
        self._blobs.check()
        id_ = uuid4()
        with self._sessions.begin() as session:
            rows.lock(session)
            self._blobs.mark(id_)
            rows.record(session, id_)
            audit.record(session, actor=by, action="store.adopted", subject_kind="store", subject_id=id_)
        return id_


def _wrong(found: UUID | None) -> WrongBlobStoreError:
    if found is None:
        return WrongBlobStoreError("the blob store is empty or not mounted: mount its volume, or adopt a restored copy")
    return WrongBlobStoreError("the blob store belongs to another database: mount the right volume, or adopt this one")
