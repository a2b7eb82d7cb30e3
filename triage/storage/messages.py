"""Messages and their threads as rows. Every insertion is idempotent."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Text, delete, exists, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.types import Boolean, Uuid

from triage.domain.ids import MessageId, ThreadId, new_id
from triage.domain.text import check_id, check_word
from triage.errors import NotFoundError, UsageError
from triage.storage.database import recordset
from triage.storage.tables import Message, Thread

Key = tuple[str, str]
"""(source, external id) of a message or a thread."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    key: Key
    thread: Key
    role: str
    locale: str
    opted_out: bool
    fitzpatrick: str | None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as its first submission left it.

    Attributes:
        thread: the sender's id of the thread.
    """

    id: MessageId
    thread_id: ThreadId
    thread: str
    role: str
    locale: str
    opted_out: bool
    fitzpatrick: str | None


def threads_of(session: Session, messages: Collection[Key]) -> dict[Key, Key]:
    """The threads of those of these messages that are stored."""
    rows = [{"source": source, "external_id": external_id} for source, external_id in messages]
    known = recordset("known", rows, source=Text(), external_id=Text())
    found = session.execute(
        select(Message.source, Message.external_id, Thread.source, Thread.external_id)
        .join(known, (Message.source == known.c.source) & (Message.external_id == known.c.external_id))
        .join(Thread, Thread.id == Message.thread_id)
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in found}


def add_threads(session: Session, keys: Collection[Key]) -> dict[Key, ThreadId]:
    """Inserts the threads that are new, locks all of these threads in a fixed order, and returns their ids."""
    found: dict[Key, ThreadId] = {}
    while len(found) < len(keys):  # repeats if an existing thread was archived or forgotten concurrently
        rows = [{"id": new_id(), "source": source, "external_id": external_id} for source, external_id in sorted(keys)]
        new = recordset("new", rows, id=Uuid(), source=Text(), external_id=Text())
        session.execute(
            insert(Thread)
            .from_select(["id", "source", "external_id"], select(new).order_by(new.c.source, new.c.external_id))
            .on_conflict_do_nothing()
        )
        locked = session.execute(
            select(Thread.id, Thread.source, Thread.external_id)
            .join(new, (Thread.source == new.c.source) & (Thread.external_id == new.c.external_id))
            .order_by(Thread.id)
            .with_for_update(of=Thread)
        )
        found = {(row.source, row.external_id): ThreadId(row.id) for row in locked}
    return found


def add_messages(
    session: Session, messages: Sequence[NewMessage], threads: dict[Key, ThreadId]
) -> tuple[dict[Key, StoredMessage], set[MessageId]]:
    """Inserts the messages that are new.

    Returns:
        Each message as stored, new or not, and the ids of the new ones.
    """
    rows = [
        {
            "id": new_id(),
            "source": message.key[0],
            "external_id": message.key[1],
            "thread_id": threads[message.thread],
            "role": message.role,
            "locale": message.locale,
            "opted_out": message.opted_out,
            "fitzpatrick": message.fitzpatrick,
        }
        for message in messages
    ]
    new = recordset(
        "new",
        rows,
        id=Uuid(),
        source=Text(),
        external_id=Text(),
        thread_id=Uuid(),
        role=Text(),
        locale=Text(),
        opted_out=Boolean(),
        fitzpatrick=Text(),
    )
    created = session.scalars(
        insert(Message)
        .from_select(list(new.c.keys()), select(new).order_by(new.c.source, new.c.external_id))
        .on_conflict_do_nothing()
        .returning(Message.id)
    ).all()
    found = session.execute(
        select(
            Message.id,
            Message.source,
            Message.external_id,
            Message.thread_id,
            Thread.external_id.label("thread"),
            Message.role,
            Message.locale,
            Message.opted_out,
            Message.fitzpatrick,
        )
        .join(new, (Message.source == new.c.source) & (Message.external_id == new.c.external_id))
        .join(Thread, Thread.id == Message.thread_id)
    )
    stored = {
        (row.source, row.external_id): StoredMessage(
            id=MessageId(row.id),
            thread_id=ThreadId(row.thread_id),
            thread=row.thread,
            role=row.role,
            locale=row.locale,
            opted_out=row.opted_out,
            fitzpatrick=row.fitzpatrick,
        )
        for row in found
    }
    return stored, set(map(MessageId, created))


def opt_out(session: Session, message_ids: Collection[MessageId]) -> set[MessageId]:
    """Records that the authors of these messages opted out. Returns the messages for which that was not known."""
    if not message_ids:
        return set()
    changed = session.scalars(
        update(Message)
        .where(Message.id == func.any(list(message_ids)), Message.opted_out.is_(False))
        .values(opted_out=True)
        .returning(Message.id),
        execution_options={"synchronize_session": False},
    )
    return set(map(MessageId, changed))


def opt_out_thread(session: Session, thread_id: ThreadId) -> set[MessageId]:
    """Records that all messages of a thread opted out. Returns those for which that was not known."""
    return opt_out(
        session, set(map(MessageId, session.scalars(select(Message.id).where(Message.thread_id == thread_id))))
    )


def remove_if_empty(session: Session, thread_id: ThreadId) -> None:
    """Deletes a thread that has no messages. The caller has locked it with `add_threads`."""
    session.execute(
        delete(Thread).where(Thread.id == thread_id, ~exists(select(Message.id).where(Message.thread_id == thread_id))),
        execution_options={"synchronize_session": False},
    )


def id_of(session: Session, key: Key) -> MessageId | None:
    """The id of a message by its source and the sender's id, or None."""
    source, external_id = key
    row = session.scalar(select(Message.id).where(Message.source == source, Message.external_id == external_id))
    return None if row is None else MessageId(row)


def among(sources: Sequence[str] | None) -> ColumnElement[bool]:
    """A condition on messages: they are of these sources, or of any."""
    return true() if sources is None else Message.source == func.any(list(sources))


def find_message(session: Session, name: str | MessageId, source: str | None = None) -> Message:
    """Finds a message by the sender's id or its own.

    Args:
        session: of the caller's transaction.
        name: the id. A text is the sender's id, or else its own; a `MessageId` is its own alone, because a sender may
            have given another message this id.
        source: the sender, required if several senders use the same id.

    Raises:
        UsageError: the message is unknown or ambiguous, or `name` or `source` is malformed.
    """
    if source is not None:
        check_word(source, "source")
    of_source = among(None if source is None else [source])
    found: Sequence[Message] = []
    if isinstance(name, str):
        check_id(name, "message id")
        found = session.scalars(select(Message).where(Message.external_id == name, of_source).limit(2)).all()
    if not found and (key := _uuid(name) if isinstance(name, str) else name) is not None:
        found = session.scalars(select(Message).where(Message.id == key, of_source)).all()
    if not found:
        raise _unknown()
    if len(found) > 1:
        raise UsageError("several sources use this message id: name one of them")
    return found[0]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _unknown() -> NotFoundError:
    return NotFoundError("no message has this id: check it, or submit the message first")


def check_exists(session: Session, message_id: MessageId) -> None:
    """
    Raises:
        NotFoundError: no message has this id.
    """
    if session.get(Message, message_id) is None:
        raise _unknown()


def lock_with_thread(session: Session, message_id: MessageId) -> Message:
    """Returns a message and locks its thread until the transaction ends, so that no other transaction decides it.

    Raises:
        UsageError: the message does not exist, or was archived.
    """
    thread_id = select(Message.thread_id).where(Message.id == message_id).scalar_subquery()
    session.execute(select(Thread.id).where(Thread.id == thread_id).with_for_update())
    message = session.get(Message, message_id, populate_existing=True)
    if message is None:
        raise _unknown()
    return message
