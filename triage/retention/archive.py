"""Archiving: old threads leave the tables for files, a batch in a transaction, while everything else goes on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import ThreadId, new_id
from triage.retention.archive_file import write_lines
from triage.storage import archive as rows
from triage.storage import audit, retention
from triage.storage.database import Sessions

MESSAGES_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """One file of an archive, its hash, and how many threads, messages, attachments and verdicts went into it."""

    file: Path
    sha256: str
    counts: dict[str, int]


def archive(sessions: Sessions, folder: Path, *, before: datetime, actor: str) -> Iterator[Batch]:
    """Writes threads that ended before a time into files and removes their rows; yields each file once it is done.

    A thread goes whole, once its every message is that old, so that the limit of its retake requests holds as long as
    it lives. A file is on the disk before the removal of its rows is committed; the audit trail notes its hash. Killed
    in between, a file without an event is left, whose threads are still in the tables.

    Args:
        sessions: of the role that owns the tables; no other may remove history.
        folder: made if it is not there.
        before: of the threads' last messages.
        actor: for the audit trail.

    Raises:
        UsageError: the actor id is malformed, or the folder cannot be written to; nothing was removed since the last
            file.
    """
    check_actor(actor)
    after = None
    while True:
        with sessions.begin() as session:
            threads, last = rows.next_messages(session, after=after, before=before, limit=MESSAGES_AT_ONCE)
            if not threads:
                return
            closed = rows.lock_closed(session, threads, before=before)
            batch = _archive(session, folder, closed, actor=actor) if closed else None
        if batch is not None:
            yield batch
        after = last


def _archive(session: Session, folder: Path, threads: Sequence[ThreadId], *, actor: str) -> Batch:
    lines = rows.histories(session, threads)
    photos = retention.lock_blobs(session, rows.photos_of(session, threads))
    counts = {"threads": len(threads)} | rows.remove(session, threads)
    retention.mark_unreferenced(session, photos)  # their bytes go with the next purge
    file_id = new_id()
    file, sha256 = write_lines(folder, file_id, lines)
    audit.record(
        session,
        actor=actor,
        action="threads.archived",
        subject_kind="archive",
        subject_id=file_id,
        sha256=sha256,
        **counts,
    )
    return Batch(file, sha256, counts)
