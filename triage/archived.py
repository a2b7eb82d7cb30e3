"""What was archived can be forgotten too: a file is written anew without a message's ids, texts, hashes and notes."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from triage.archive import write_lines
from triage.durable import sync_folder
from triage.errors import UsageError
from triage.retention import check_reason
from triage.storage import audit
from triage.storage.engine import Sessions
from triage.storage.roles import REPORT, WORKER

_REWRITE_LOCK: Final = 7216340003  # two at once would each write a file that still has what the other one forgets


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file in place of another, its hash, and the messages that were forgotten in it."""

    file: Path
    sha256: str
    messages: list[UUID]


@dataclass(frozen=True, slots=True)
class _ArchiveFile:
    """
    Attributes:
        found: the rows of the messages that are to be forgotten.
    """

    path: Path
    sha256: str
    histories: list[dict[str, Any]]
    found: list[dict[str, Any]]


def forget_archived(
    sessions: Sessions, folder: Path, message: str, source: str | None, *, by: str, reason: str
) -> list[Rewritten]:
    """Forgets a message in an archive's files, as `triage.retention.forget` does in the tables.

    The new files are on the disk before the audit trail says so, and the old ones go after that. Whatever is killed in
    between is taken up when the same is asked again.

    Args:
        sessions: of the role that owns the tables, as for the archiving itself.
        message: its sender's id, or ours.
        source: its sender's name, where several use the same ids.

    Raises:
        UsageError: `by` or `reason` is no opaque id; no file holds the message, or those of several sources; a file
            cannot be read or written, or is not as the audit trail knows it. Then nothing was forgotten.
    """
    audit.check_actor(by)
    check_reason(reason)
    with sessions.begin() as session:
        session.execute(select(func.pg_advisory_xact_lock(_REWRITE_LOCK)))
        files = [_read(path, message, source) for path in sorted(folder.glob("*.jsonl.gz"))]
        files = [file for file in files if file.found]
        if not files:
            raise UsageError(
                "no message has this id in the files of this folder: those in the tables need no --archive"
            )
        if len({row["source"] for file in files for row in file.found}) > 1:
            raise UsageError("several sources have sent this id: name one with --source")
        ids = [_check_known(session, file) for file in files]
        written = [_rewrite(session, file, id_, by=by, reason=reason) for file, id_ in zip(files, ids, strict=True)]
    for file in files:
        file.path.unlink()
    sync_folder(folder)
    return written


def _read(path: Path, message: str, source: str | None) -> _ArchiveFile:
    try:
        data = path.read_bytes()
        histories = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        is_archive = all({"thread", "messages", "attachments", "decisions"} <= each.keys() for each in histories)
    except (OSError, EOFError, ValueError, AttributeError, zlib.error):
        is_archive = False
    if not is_archive:
        raise UsageError(f"{path.name} cannot be read: is it a whole file of an archive?")
    found = [
        row
        for history in histories
        for row in history["messages"]
        if message in {row["external_id"], row["id"]} and source in {None, row["source"]} and not row["forgotten_at"]
    ]
    return _ArchiveFile(path, hashlib.sha256(data).hexdigest(), histories, found)


def _check_known(session: Session, file: _ArchiveFile) -> UUID:
    """The id of a file whose hash is that of the audit trail."""
    try:
        file_id = UUID(file.path.name.partition(".")[0])
    except ValueError as error:
        raise UsageError(f"{file.path.name}: not a file of an archive; nothing was changed") from error
    if _noted_sha256(session, file_id) != file.sha256:
        raise UsageError(
            f"{file.path.name} is not as the audit trail of this database knows it, and stays as it is: was it "
            "changed, or left by a command that was killed?"
        )
    return file_id


def _noted_sha256(session: Session, file_id: UUID) -> str | None:
    """Of a file, as the owner's role has put it into the audit trail: others can write events, but not in its name."""
    for event in audit.events_of(session, file_id):
        if event.action in {"threads.archived", "archive.written"} and event.details["role"] not in {WORKER, REPORT}:
            return str(event.details["sha256"])
    return None


def _rewrite(session: Session, file: _ArchiveFile, file_id: UUID, *, by: str, reason: str) -> Rewritten:
    forgotten = [UUID(row["id"]) for row in file.found]
    new_id = uuid5(file_id, " ".join(map(str, forgotten)))  # the same at each try: what a kill left is written over
    new = file.path.with_name(f"{new_id}.jsonl.gz")
    if (noted := _noted_sha256(session, new_id)) is not None:
        return _found_again(new, noted, forgotten)
    for message_id in forgotten:
        for history in file.histories:
            _forget(history, str(message_id))
    lines = [json.dumps(history, ensure_ascii=False) for history in file.histories]
    new, sha256 = write_lines(file.path.parent, new_id, lines)
    for message_id in forgotten:
        _note(session, by, "message.forgotten", "message", message_id, reason=reason, archive=str(new_id))
    _note(session, by, "archive.replaced", "archive", file_id, replaced_by=str(new_id))
    _note(session, by, "archive.written", "archive", new_id, sha256=sha256, replaces=str(file_id))
    return Rewritten(new, sha256, forgotten)


def _found_again(new: Path, sha256: str, forgotten: Sequence[UUID]) -> Rewritten:
    """The file of an earlier try that was killed before it removed the old one.

    Raises:
        UsageError: it is not there, so the old one must stay.
    """
    if not new.is_file() or hashlib.sha256(new.read_bytes()).hexdigest() != sha256:
        raise UsageError(f"{new.name} has replaced a file of this folder and is not here: bring it back first")
    return Rewritten(new, sha256, list(forgotten))


def _note(session: Session, by: str, action: str, kind: str, subject_id: UUID, **details: str) -> None:
    audit.record(session, actor=by, action=action, subject_kind=kind, subject_id=subject_id, **details)


def _forget(history: dict[str, Any], message_id: str) -> None:
    """As the function `forget_message` of the database does with rows."""
    for row in history["messages"]:
        if row["id"] == message_id:
            row |= {
                "external_id": f"forgotten:{message_id}",
                "locale": "und",
                "forgotten_at": datetime.now(UTC).isoformat(),
            }
    for row in history["attachments"]:
        if row["message_id"] == message_id:
            row |= dict.fromkeys(("photo_group", "declared_type", "sha256", "uri"))
            row["external_id"] = f"forgotten:{row['id']}"
    for row in history["decisions"]:
        if row["message_id"] == message_id:
            row["note"] = None
    if all(row["forgotten_at"] for row in history["messages"]):
        history["thread"]["external_id"] = f"forgotten:{history['thread']['id']}"
