"""Purging photos: bytes are deleted after the retention time; rows, verdicts and the audit trail are kept.

A purge marks a blob, deletes its bytes, then records the deletion in the blob's row. The next purge completes whatever
an interrupted one left.
"""

import random
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from triage.blobs.store import BlobStore
from triage.domain.actors import check_actor
from triage.domain.ids import new_id
from triage.photo_store import PhotoStore
from triage.storage import arrivals, audit, deliveries, origins
from triage.storage import retention as retention_rows
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_BLOBS_PER_TRANSACTION: Final = 100
_MARKED_PER_TRANSACTION: Final = 5000
_ROWS_PER_TRANSACTION: Final = 5000
_DELIVERIES_KEPT: Final = timedelta(days=30)
_ARRIVALS_KEPT: Final = timedelta(days=30)
_ORPHANED_AFTER: Final = timedelta(days=1)
_FOLDERS: Final = [f"{number:02x}" for number in range(256)]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Purged:
    """The result of a purge.

    Attributes:
        photos: number of blobs whose bytes were deleted.
        bytes: their size.
        strays: orphaned files of the store (without a row), such as those of an interrupted submission.
        unfinished: the time limit was reached before all work was done.
    """

    photos: int = 0
    bytes: int = 0
    strays: int = 0
    unfinished: bool = False


class Retention:
    """Purges a blob store. Concurrent purges share the work."""

    def __init__(self, sessions: Sessions, blobs: BlobStore, *, keep: timedelta | None) -> None:
        """
        Args:
            sessions: of the worker role.
            blobs: the store to purge.
            keep: retention time, counted from the last receipt of a photo. None keeps all photos except those of
                forgotten messages.
        """
        self._sessions = sessions
        self._blobs = blobs
        self._store = PhotoStore(sessions, blobs)
        self._keep = keep

    @use_case
    def count_due(self) -> tuple[int, int]:
        """Returns the number of photos, and their bytes, that a purge would delete now."""
        with self._sessions() as session:
            if self._keep is None:
                return retention_rows.count_marked(session)
            return retention_rows.count_older_than(session, self._keep)

    @use_case
    def purge(self, *, actor: str, seconds: float | None = None) -> Purged:
        """Deletes expired photos and orphaned files.

        Args:
            actor: id for the audit trail.
            seconds: time limit, after which no new batch starts.

        Raises:
            UsageError: the actor id is malformed; nothing was deleted.
            BlobStoreUnavailableError: the store is not the one of this database, or did not delete a file; the next
                purge continues.
        """
        check_actor(actor)
        is_set_up = self._store.check()
        begin = time.monotonic()
        deadline, half = (None, None) if seconds is None else (begin + seconds, begin + seconds / 2)
        self._mark()
        strays = self._adopt_orphans(half) if is_set_up else 0
        purged = self.remove(actor=actor, deadline=deadline)
        if not purged.unfinished:  # examines every photo ever purged, so it runs once after the last batch
            with self._sessions.begin() as session:
                retention_rows.forget_unreferenced(session)
            self._remove_in_steps(partial(deliveries.remove_closed, age=_DELIVERIES_KEPT))
            self._remove_in_steps(partial(arrivals.remove_read, age=_ARRIVALS_KEPT))
            if self._keep is not None:
                self._remove_in_steps(partial(origins.remove_older_than, age=self._keep))
        return replace(purged, strays=strays)

    def remove(self, *, actor: str, among: Collection[str] | None = None, deadline: float | None = None) -> Purged:
        """Deletes the bytes of marked blobs, one batch per transaction.

        Args:
            actor: id for the audit trail.
            among: only blobs with these hashes.
            deadline: time of `time.monotonic` after which no new batch starts.

        Raises:
            BlobStoreUnavailableError: the store is not the one of this database, or did not delete a file; the next
                purge continues.
        """
        purged = Purged()
        while deadline is None or time.monotonic() < deadline:
            self._store.check()  # in an empty volume, all photos would count as deleted
            with self._sessions.begin() as session:
                due = retention_rows.take_due(session, limit=_BLOBS_PER_TRANSACTION, among=among)
                if not due:
                    return purged
                for blob in due:
                    self._blobs.remove(blob.sha256)
                retention_rows.purged(session, [blob.sha256 for blob in due])
                size = sum(blob.size_bytes for blob in due)
                audit.record(
                    session,
                    actor=actor,
                    action="photos.purged",
                    subject_kind="purge",
                    subject_id=new_id(),
                    photos=len(due),
                    bytes=size,
                )
            purged = replace(purged, photos=purged.photos + len(due), bytes=purged.bytes + size)
        return replace(purged, unfinished=True)

    def _mark(self) -> None:
        if self._keep is None:
            return
        marked = _MARKED_PER_TRANSACTION
        while marked == _MARKED_PER_TRANSACTION:
            with self._sessions.begin() as session:
                marked = retention_rows.mark_older_than(session, self._keep, limit=_MARKED_PER_TRANSACTION)

    def _remove_in_steps(self, remove: Callable[..., int]) -> None:
        """Calls `remove(session, limit=n)` in transactions of their own, until it removes fewer."""
        removed = _ROWS_PER_TRANSACTION
        while removed == _ROWS_PER_TRANSACTION:
            with self._sessions.begin() as session:
                removed = remove(session, limit=_ROWS_PER_TRANSACTION)

    def _adopt_orphans(self, deadline: float | None) -> int:
        """Starts at a random folder, so that time-limited purges reach all folders over time."""
        first = random.randrange(len(_FOLDERS))  # noqa: S311  # not a secret
        before, found = datetime.now(UTC) - _ORPHANED_AFTER, 0
        for folder in _FOLDERS[first:] + _FOLDERS[:first]:
            if deadline is not None and time.monotonic() > deadline:
                break
            found += self._adopt_orphans_of(folder, before)
        return found

    def _adopt_orphans_of(self, folder: str, before: datetime) -> int:
        names = self._blobs.names(folder)
        if not names:
            return 0
        parts = [name for name in names if name.endswith(".part") and self._blobs.is_older(name, before)]
        for name in parts:
            self._blobs.remove(name)
        hashes = [name for name in names if _SHA256.fullmatch(name)]
        with self._sessions.begin() as session:
            orphans = [
                name for name in retention_rows.unknown_among(session, hashes) if self._blobs.is_older(name, before)
            ]
            return len(parts) + retention_rows.adopt(session, {name: self._blobs.size(name) for name in orphans})
