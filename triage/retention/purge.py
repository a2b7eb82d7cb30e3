"""Retention: photos go after a set time, a message on request; rows, verdicts and the audit trail stay.

Removing is a list of things to do that is kept in the rows: first a blob is marked, then its bytes go, then the row
says so. Whatever is killed in between is taken up by the next purge.
"""

import random
import re
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from triage.blobs.store import BlobStore
from triage.domain.actors import check_actor
from triage.domain.ids import new_id
from triage.storage import audit
from triage.storage import retention as rows
from triage.storage.database import Sessions

_BLOBS_AT_ONCE: Final = 100
_MARKED_AT_ONCE: Final = 5000
_STRAY_AFTER: Final = timedelta(days=1)
_FOLDERS: Final = [f"{number:02x}" for number in range(256)]
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge removed.

    Attributes:
        photos: blobs whose bytes are gone now.
        bytes: how many bytes those were.
        strays: files of the store that no row spoke of, such as those of an intake that was killed.
        unfinished: whether the time was over before all was done.
    """

    photos: int = 0
    bytes: int = 0
    strays: int = 0
    unfinished: bool = False


class Retention:
    """Purges a blob store. Two at once share the work."""

    def __init__(self, sessions: Sessions, blobs: BlobStore, *, keep: timedelta | None) -> None:
        """
        Args:
            keep: how long photos are kept after their last receipt; None keeps all but what was forgotten.
        """
        self._sessions = sessions
        self._blobs = blobs
        self._keep = keep

    def count_due(self) -> tuple[int, int]:
        """How many photos, and bytes, a purge would remove now."""
        with self._sessions() as session:
            return rows.count_older_than(session, self._keep) if self._keep else rows.count_marked(session)

    def purge(self, *, actor: str, seconds: float | None = None) -> Purged:
        """Removes the photos whose time is over, and files that no row speaks of.

        Args:
            actor: for the audit trail.
            seconds: begin nothing new after that.

        Raises:
            UsageError: the actor id is malformed; nothing was removed.
        """
        check_actor(actor)
        begin = time.monotonic()
        deadline, half = (None, None) if seconds is None else (begin + seconds, begin + seconds / 2)
        self._mark()
        strays = self._adopt_strays(half)
        purged = self.remove(actor=actor, deadline=deadline)
        if not purged.unfinished:  # it looks at each photo that was ever purged, so once a night is enough
            with self._sessions.begin() as session:
                rows.forget_unreferenced(session)
        return replace(purged, strays=strays)

    def remove(self, *, actor: str, among: Collection[str] | None = None, deadline: float | None = None) -> Purged:
        """Removes the bytes of blobs that are marked, a batch in a transaction.

        Args:
            among: only these.
            deadline: of `time.monotonic`.

        Raises:
            ServiceUnavailableError: the store does not let go of them; what is left is taken up by the next purge.
        """
        purged = Purged()
        while deadline is None or time.monotonic() < deadline:
            with self._sessions.begin() as session:
                due = rows.take_due(session, limit=_BLOBS_AT_ONCE, among=among)
                if not due:
                    return purged
                for blob in due:
                    self._blobs.remove(blob.sha256)
                rows.purged(session, [blob.sha256 for blob in due])
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
        marked = _MARKED_AT_ONCE
        while marked == _MARKED_AT_ONCE:
            with self._sessions.begin() as session:
                marked = rows.mark_older_than(session, self._keep, limit=_MARKED_AT_ONCE)

    def _adopt_strays(self, deadline: float | None) -> int:
        """Begins at any folder, so that short purges come by all of them in time."""
        first, before, found = random.randrange(len(_FOLDERS)), datetime.now(UTC) - _STRAY_AFTER, 0  # noqa: S311  # no secret
        for folder in _FOLDERS[first:] + _FOLDERS[:first]:
            if deadline is not None and time.monotonic() > deadline:
                break
            found += self._adopt_strays_of(folder, before)
        return found

    def _adopt_strays_of(self, folder: str, before: datetime) -> int:
        names = self._blobs.names(folder)
        if not names:
            return 0
        parts = [name for name in names if name.endswith(".part") and self._blobs.is_older(name, before)]
        for name in parts:
            self._blobs.remove(name)
        hashes = [name for name in names if _HASH.fullmatch(name)]
        with self._sessions.begin() as session:
            unknown = [name for name in rows.unknown_among(session, hashes) if self._blobs.is_older(name, before)]
            return len(parts) + rows.adopt(session, {name: self._blobs.size(name) for name in unknown})
