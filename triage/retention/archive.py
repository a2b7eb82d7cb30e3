"""Online archiving of old threads: batches of threads move from the tables into files while workers continue."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import ThreadId, new_id
from triage.retention.archive_file import write_lines
from triage.storage import archive as archive_rows
from triage.storage import audit, retention
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

MESSAGES_PER_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Batch:
    """One archive file.

    Attributes:
        file: its path.
        sha256: hash of its bytes.
        counts: number of threads, messages, attachments and verdicts in it.
    """

    file: Path
    sha256: str
    counts: dict[str, int]


@use_case
def count_archivable(sessions: Sessions, *, before: AwareDatetime) -> int:
    """Returns how many threads `archive_threads` would archive now."""
    with sessions() as session:
        return archive_rows.count_closed(session, before=before)


@use_case
def archive_threads(sessions: Sessions, folder: Path, *, before: AwareDatetime, actor: str) -> Iterator[Batch]:
    """Writes threads that ended before a time into files and deletes their rows, one file per transaction.

    A thread is archived whole, after all its messages reached that age, so the limit of its retake requests applies
    as long as it is in use. Each file is durable before the deletion of its rows is committed, and an audit event
    records its hash. A process killed in between leaves a file without an event, whose threads are still in the tables.

    Args:
        sessions: of the role that owns the tables, the only one that may delete history.
        folder: created if it does not exist.
        before: upper limit for the receipt of a thread's last message.
        actor: id for the audit trail.

    Yields:
        Each file, after its transaction committed.

    Raises:
        UsageError: the actor id is malformed, or the folder cannot be written. Files yielded before are complete;
            nothing else was deleted.
    """
    check_actor(actor)
    after = None
    while True:
        with sessions.begin() as session:
            threads, last = archive_rows.next_messages(session, after=after, before=before, limit=MESSAGES_PER_BATCH)
            if not threads:
                return
            closed = archive_rows.lock_closed(session, threads, before=before)
            batch = _archive(session, folder, closed, actor=actor) if closed else None
        if batch is not None:
            yield batch
        after = last


def _archive(session: Session, folder: Path, threads: Sequence[ThreadId], *, actor: str) -> Batch:
    lines = archive_rows.histories(session, threads)
    photos = retention.lock_blobs(session, archive_rows.photos_of(session, threads))
    counts = {"threads": len(threads)} | archive_rows.remove(session, threads)
    retention.mark_unreferenced(session, photos)  # the next purge deletes their bytes
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
