"""What was archived can be forgotten too: a file is written anew without a message's ids, texts, hashes and notes."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from triage.archive import write_lines
from triage.errors import UsageError
from triage.retention import check_reason
from triage.storage import audit
from triage.storage.engine import Sessions


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file in place of another, its hash, and the messages that were forgotten in it."""

    file: Path
    sha256: str
    messages: list[UUID]


def forget_archived(
    sessions: Sessions, folder: Path, message: str, source: str | None, *, by: str, reason: str
) -> Iterator[Rewritten]:
    """Forgets a message in an archive's files, as `triage.retention.forget` does in the tables.

    A new file is on the disk before the audit trail says so, and the old one goes after that. Whatever is killed in
    between is taken up when the same is asked again.

    Args:
        message: its sender's id, or ours.
        source: its sender's name, where several use the same ids.

    Raises:
        UsageError: `by` or `reason` is no opaque id; no file holds the message, or those of several sources; a file
            cannot be read or written, or is not as the audit trail knows it. Nothing is lost.
    """
    audit.check_actor(by)
    check_reason(reason)
    rows = {file: _matching(_histories(file), message, source) for file in sorted(folder.glob("*.jsonl.gz"))}
    sources = {row["source"] for found in rows.values() for row in found}
    if not sources:
        raise UsageError("no message has this id in the files of this folder: those in the tables need no --archive")
    if len(sources) > 1:
        raise UsageError("several sources have sent this id: name one with --source")
    for file in (file for file, found in rows.items() if found):
        with sessions.begin() as session:
            rewritten = _rewrite(session, file, message, source, by=by, reason=reason)
        file.unlink()
        if rewritten is not None:
            yield rewritten


def _rewrite(
    session: Session, file: Path, message: str, source: str | None, *, by: str, reason: str
) -> Rewritten | None:
    """None where an earlier try has done so, and was killed before it removed the old file."""
    old_id = _check_known(session, file)
    if any(event.action == "archive.replaced" for event in audit.events_of(session, old_id)):
        return None
    histories = _histories(file)
    forgotten = [UUID(row["id"]) for row in _matching(histories, message, source)]
    for history in histories:
        for message_id in forgotten:
            _forget(history, str(message_id))
    new_id, new, sha256 = write_lines(file.parent, [json.dumps(history, ensure_ascii=False) for history in histories])
    for message_id in forgotten:
        audit.record(
            session,
            actor=by,
            action="message.forgotten",
            subject_kind="message",
            subject_id=message_id,
            reason=reason,
            archive=str(new_id),
        )
    audit.record(
        session,
        actor=by,
        action="archive.replaced",
        subject_kind="archive",
        subject_id=old_id,
        by=str(new_id),
    )
    audit.record(
        session,
        actor=by,
        action="archive.written",
        subject_kind="archive",
        subject_id=new_id,
        sha256=sha256,
        replaces=str(old_id),
    )
    return Rewritten(new, sha256, forgotten)


def _check_known(session: Session, file: Path) -> UUID:
    """The id of a file whose hash is that of the audit trail."""
    try:
        file_id = UUID(file.name.partition(".")[0])
    except ValueError as error:
        raise UsageError(f"{file.name}: not a file of an archive; nothing was changed") from error
    known = {event.details.get("sha256") for event in audit.events_of(session, file_id)}
    if hashlib.sha256(file.read_bytes()).hexdigest() not in known:
        raise UsageError(
            f"{file.name} is not as the audit trail of this database knows it, and stays as it is: was it changed, or "
            "left by an archiving that was killed?"
        )
    return file_id


def _histories(file: Path) -> list[dict[str, Any]]:
    try:
        histories = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        if all({"thread", "messages", "attachments", "decisions"} <= history.keys() for history in histories):
            return histories
    except (OSError, EOFError, ValueError, AttributeError, zlib.error):
        pass
    raise UsageError(f"{file.name} cannot be read: is it a whole file of an archive?")


def _matching(histories: list[dict[str, Any]], message: str, source: str | None) -> list[dict[str, Any]]:
    """The rows of the messages with this id, not forgotten yet."""
    return [
        row
        for history in histories
        for row in history["messages"]
        if message in {row["external_id"], row["id"]} and source in {None, row["source"]} and not row["forgotten_at"]
    ]


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
