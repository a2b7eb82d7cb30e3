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

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.errors import UsageError
from triage.files.atomic import sync_folder
from triage.retention.archive_file import write_lines
from triage.retention.forget import check_reason
from triage.storage import audit
from triage.storage.database import create_sessions
from triage.storage.locks import try_lock
from triage.storage.tables import AuditEvent

_LOCK: Final = "the files of an archive"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file in place of another, its hash, and the messages that were forgotten in it."""

    file: Path
    sha256: str
    messages: list[UUID]


@dataclass(frozen=True, slots=True)
class _Search:
    """For a message by its sender's id or ours, of one source or any."""

    message: str
    source: str | None

    def rows(self, histories: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the messages that are not forgotten yet."""
        return [
            row
            for history in histories
            for row in history["messages"]
            if self.message in {row["external_id"], row["id"]}
            and self.source in {None, row["source"]}
            and not row["forgotten_at"]
        ]


def forget_archived(
    engine: Engine, folder: Path, message: str, source: str | None, *, by: str, reason: str
) -> list[Rewritten]:
    """Forgets a message in an archive's files, as `triage.retention.forget.forget` does in the tables.

    The new files are on the disk before the audit trail says so, and the old ones go after that. Whatever is killed in
    between is taken up when the same is asked again.

    Args:
        engine: of the role that owns the tables, as for the archiving itself.
        message: its sender's id, or ours.
        source: its sender's name, where several use the same ids.

    Raises:
        UsageError: `by` or `reason` is no opaque id; no file holds the message, or those of several sources; a file
            cannot be read, written or removed, or is not as the audit trail knows it; somebody else is at the files.
            What is not forgotten then is there still.
    """
    check_actor(by)
    check_reason(reason)
    search = _Search(message, source)
    with try_lock(engine, _LOCK) as lock:  # two at once would each write a file with what the other one forgets
        if lock is None:
            raise UsageError("somebody else forgets in an archive just now: ask again")
        paths = _find(folder, search)
        with create_sessions(engine).begin() as session:
            written = _rewrite_all(session, paths, search, by=by, reason=reason)
        _remove(paths)
    return written


def _find(folder: Path, search: _Search) -> list[Path]:
    """The files that hold the message; nothing of them is kept in memory."""
    paths, sources = list[Path](), set[str]()
    for path in sorted(folder.glob("*.jsonl.gz")):
        if rows := search.rows(_read(path)[0]):
            paths.append(path)
            sources |= {row["source"] for row in rows}
    if not paths:
        raise UsageError("no message has this id in the files of this folder: those in the tables need no --archive")
    if len(sources) > 1:
        raise UsageError("several sources have sent this id: name one with --source")
    return paths


def _read(path: Path) -> tuple[list[dict[str, Any]], str]:
    """A file's histories, and its SHA-256."""
    try:
        data = path.read_bytes()
        histories = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        is_archive = all({"thread", "messages", "attachments", "decisions"} <= each.keys() for each in histories)
    except (OSError, EOFError, ValueError, AttributeError, zlib.error):
        is_archive = False
    if not is_archive:
        raise UsageError(f"{path.name} cannot be read: is it a whole file of an archive?")
    return histories, hashlib.sha256(data).hexdigest()


def _rewrite_all(session: Session, paths: Sequence[Path], search: _Search, *, by: str, reason: str) -> list[Rewritten]:
    """Writes every file before the first event: whoever appends another waits for the end of this transaction."""
    trail = _Trail(session)
    written: dict[UUID, Rewritten] = {}
    resumed = []
    ids = [trail.check(path) for path in paths]
    for path, old_id in zip(paths, ids, strict=True):
        histories, _ = _read(path)
        found = [UUID(row["id"]) for row in search.rows(histories)]
        if (new_id := trail.replacement(old_id)) is not None:  # by an earlier command, killed before it removed this
            new = path.with_name(f"{new_id}.jsonl.gz")
            if not new.is_file():
                raise UsageError(f"{new.name} has replaced {path.name} and is not here: bring it back first")
            trail.check(new)
            resumed.append(Rewritten(new, _read(new)[1], found))
        else:
            written[old_id] = _rewrite(path, old_id, histories, found)
    for old_id, rewritten in written.items():
        new_id = _id_of(rewritten.file)
        for message_id in rewritten.messages:
            _note(session, by, "message.forgotten", "message", message_id, reason=reason, archive=str(new_id))
        _note(session, by, "archive.replaced", "archive", old_id, replaced_by=str(new_id))
        _note(session, by, "archive.written", "archive", new_id, sha256=rewritten.sha256, replaces=str(old_id))
    return [*written.values(), *(each for each in resumed if each.file not in paths)]


class _Trail:
    """What the owner of the tables has noted of files: others can write events too, but not under its role."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._owners: set[str | None] = {*session.scalars(_OWNERS), None}  # None: before events said their role

    def check(self, path: Path) -> UUID:
        """The id of a file.

        Raises:
            UsageError: its hash is not the one that was noted.
        """
        file_id = _id_of(path)
        noted = {e.details.get("sha256") for e in self._events(file_id, "threads.archived", "archive.written")}
        if _read(path)[1] not in noted:
            raise UsageError(
                f"{path.name} is not as the audit trail of this database knows it, and stays as it is: was it "
                "changed, or left by a command that was killed?"
            )
        return file_id

    def replacement(self, file_id: UUID) -> UUID | None:
        """The last of those files that came in its place, one after another."""
        last = None
        while events := self._events(last or file_id, "archive.replaced"):
            last = UUID(events[0].details["replaced_by"])
        return last

    def _events(self, file_id: UUID, *actions: str) -> list[AuditEvent]:
        events = audit.events_of(self._session, file_id)
        return [event for event in events if event.action in actions and event.details.get("role") in self._owners]


_OWNERS: Final = text(
    "SELECT rolname FROM pg_roles "
    "WHERE pg_has_role(oid, (SELECT relowner FROM pg_class WHERE oid = 'audit_event'::regclass), 'member')"
)


def _id_of(path: Path) -> UUID:
    try:
        return UUID(path.name.partition(".")[0])
    except ValueError as error:
        raise UsageError(f"{path.name}: not a file of an archive; nothing was changed") from error


def _rewrite(path: Path, old_id: UUID, histories: list[dict[str, Any]], forgotten: list[UUID]) -> Rewritten:
    new_id = uuid5(old_id, " ".join(map(str, forgotten)))  # the same at each try: what a kill left is written over
    for message_id in forgotten:
        for history in histories:
            _forget(history, str(message_id))
    file, sha256 = write_lines(path.parent, new_id, [json.dumps(each, ensure_ascii=False) for each in histories])
    return Rewritten(file, sha256, forgotten)


def _remove(paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            path.unlink()
            sync_folder(path.parent)
    except OSError as error:
        raise UsageError(
            f"forgotten, but {path.name} cannot be removed ({error.strerror}): let it be, and ask again"
        ) from error


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
