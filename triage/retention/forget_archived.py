"""Forgetting a message in archive files: each file that holds the message is replaced by one without it.

The audit trail records which file replaces which, so an interrupted command can be repeated and old copies of a file
are recognised.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.states import ArchivedKind
from triage.domain.text import check_id, check_word
from triage.errors import LockedError, UsageError
from triage.files.atomic import sync_folder
from triage.retention.archive_file import History, id_of, list_files, path_of, read_histories, write_lines
from triage.retention.forget import check_reason
from triage.storage import audit
from triage.storage.archived_counts import keep_count
from triage.storage.database import Sessions, engine_of
from triage.storage.locks import try_lock
from triage.storage.use_case import use_case

LOCK: Final = "the files of an archive"
"""Name of the lock that allows one process at a time to change archive files."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file that replaces another.

    Attributes:
        file: path of the new file.
        sha256: hash of its bytes.
        messages: ids of the messages that were forgotten in it.
    """

    file: Path
    sha256: str
    messages: list[UUID]


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for a message by the sender's id or its own, in one source or in all."""

    message: str
    source: str | None

    def matches(self, histories: Sequence[History]) -> list[dict[str, Any]]:
        """The rows of matching messages that are not forgotten yet."""
        return [
            row
            for history in histories
            for row in history["messages"]
            if self.message in {row["external_id"], row["id"]}
            and self.source in {None, row["source"]}
            and not row["forgotten_at"]
        ]


@use_case
def forget_archived(
    sessions: Sessions, folder: Path, message: str, source: str | None = None, *, by: str, reason: str
) -> list[Rewritten]:
    """Forgets a message in archive files, as `triage.retention.forget.forget` does in the tables.

    The new files are durable before the audit events are committed, and the old files are deleted after that. Repeating
    an interrupted call completes it.

    Args:
        sessions: of the role that owns the tables, as for archiving.
        folder: holds the archive files.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        by: opaque id of the person who forgets.
        reason: code, or number of the request.

    Raises:
        UsageError: an id, `source`, `by` or `reason` is malformed; no file holds the message, or those of several
            sources do; or a file cannot be read, written or deleted, or differs from its audit event. Files that were
            not replaced are unchanged.
        LockedError: another process is changing archive files.
    """
    check_actor(by)
    check_reason(reason)
    check_id(message, "message id")
    if source is not None:
        check_word(source, "source")
    search = _Search(message, source)
    with try_lock(engine_of(sessions), LOCK) as lock:  # two processes would undo each other's changes to a file
        if lock is None:
            raise LockedError("another process is changing the archive files: retry when it has finished")
        paths = _find(folder, search)
        with sessions.begin() as session:
            written = _replace_all(session, paths, search, by=by, reason=reason)
        _delete(paths)
    return written


def _find(folder: Path, search: _Search) -> list[Path]:
    """The files that hold the message. Reads one file at a time, because an archive can be larger than memory."""
    paths, sources = list[Path](), set[str]()
    for path in list_files(folder):
        if rows := search.matches(read_histories(path)[0]):
            paths.append(path)
            sources |= {row["source"] for row in rows}
    if not paths:
        raise UsageError("no archive file of this folder holds the message: check its id, or forget it in the tables")
    if len(sources) > 1:
        raise UsageError("several sources use this message id: name one of them")
    return paths


def _replace_all(session: Session, paths: Sequence[Path], search: _Search, *, by: str, reason: str) -> list[Rewritten]:
    """Writes all files before the first event, because an event blocks other writers of the trail until the commit."""
    written: dict[UUID, Rewritten] = {}
    resumed: list[Rewritten] = []
    ids = [_checked_id(session, path) for path in paths]
    for path, old_id in zip(paths, ids, strict=True):
        histories, _ = read_histories(path)
        found = [UUID(row["id"]) for row in search.matches(histories)]
        new_id = _replacement(session, old_id)
        if new_id is None:
            written[old_id] = _rewrite(path, old_id, histories, found)
        else:  # an earlier call was interrupted before it deleted this file
            resumed.append(_existing(session, path, path_of(path.parent, new_id), found))
    for old_id, rewritten in written.items():
        _record(session, old_id, rewritten, by=by, reason=reason)
        keep_count(session, ArchivedKind.FORGOTTEN, [datetime.now(UTC)] * len(rewritten.messages))
    return [*written.values(), *(each for each in resumed if each.file not in paths)]


def _checked_id(session: Session, path: Path) -> UUID:
    """The id of a file whose bytes are those that an audit event records.

    Raises:
        UsageError: they differ.
    """
    file_id = id_of(path)
    events = audit.owner_events(session, file_id, "threads.archived", "archive.written")
    if read_histories(path)[1] not in {event.details.get("sha256") for event in events}:
        raise UsageError(
            f"{path.name} differs from its record in the audit trail and was not changed: restore it from a backup, "
            "or delete it if an interrupted command left it"
        )
    return file_id


def _replacement(session: Session, file_id: UUID) -> UUID | None:
    """The id of the newest file that replaces this one, directly or through others."""
    newest = None
    while events := audit.owner_events(session, newest or file_id, "archive.replaced"):
        newest = UUID(events[0].details["replaced_by"])
    return newest


def _existing(session: Session, old: Path, new: Path, found: list[UUID]) -> Rewritten:
    if not new.is_file():
        raise UsageError(f"{new.name} has replaced {old.name} and is missing: restore it to this folder first")
    _checked_id(session, new)
    return Rewritten(new, read_histories(new)[1], found)


def _rewrite(path: Path, old_id: UUID, histories: list[History], forgotten: list[UUID]) -> Rewritten:
    new_id = uuid5(old_id, " ".join(map(str, forgotten)))  # deterministic: a retry overwrites an interrupted file
    for message_id in forgotten:
        for history in histories:
            _forget(history, str(message_id))
    file, sha256 = write_lines(path.parent, new_id, [json.dumps(each, ensure_ascii=False) for each in histories])
    return Rewritten(file, sha256, forgotten)


def _forget(history: History, message_id: str) -> None:
    """Changes a history as the database function `forget_message` changes rows."""
    for row in history["messages"]:
        if row["id"] == message_id:
            row |= {
                "external_id": f"forgotten:{message_id}",
                "locale": "und",
                "fitzpatrick": None,
                "forgotten_at": datetime.now(UTC).isoformat(),
            }
    photos = {row["id"] for row in history["attachments"] if row["message_id"] == message_id}
    votes = history.get("photo_votes", [])
    votes[:] = [vote for vote in votes if vote["attachment_id"] not in photos]
    for row in history["attachments"]:
        if row["message_id"] == message_id:
            row |= dict.fromkeys(("photo_group", "declared_type", "sha256", "uri"))
            row["external_id"] = f"forgotten:{row['id']}"
    for row in history["decisions"]:
        if row["message_id"] == message_id:
            row["note"] = None
    requests = [row for row in history["retake_requests"] if row["message_id"] == message_id]
    for row in requests:
        row["reply"] = None
    for row in history["request_reviews"]:
        if row["request_id"] in {request["id"] for request in requests}:
            row["note"] = None
    if all(row["forgotten_at"] for row in history["messages"]):
        history["thread"]["external_id"] = f"forgotten:{history['thread']['id']}"


def _record(session: Session, old_id: UUID, rewritten: Rewritten, *, by: str, reason: str) -> None:
    new_id = id_of(rewritten.file)

    def record(action: str, kind: str, subject_id: UUID, **details: str) -> None:
        audit.record(session, actor=by, action=action, subject_kind=kind, subject_id=subject_id, **details)

    for message_id in rewritten.messages:
        record("message.forgotten", "message", message_id, reason=reason, archive=str(new_id))
    record("archive.replaced", "archive", old_id, replaced_by=str(new_id))
    record("archive.written", "archive", new_id, sha256=rewritten.sha256, replaces=str(old_id))


def _delete(paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            path.unlink()
            sync_folder(path.parent)
    except OSError as error:
        raise UsageError(
            f"the message is forgotten, but {path.name} cannot be deleted ({error.strerror}): check the permissions "
            "of its folder and repeat the command"
        ) from error
