"""What messages refer to on the systems that they were read from. See `triage.domain.messages.Origin`."""

from collections.abc import Collection, Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.ids import MessageId
from triage.domain.messages import Origin
from triage.storage import tables

_NO_SYNC = {"synchronize_session": False}


def add(session: Session, origins: Mapping[MessageId, Origin]) -> None:
    """Stores the origins of messages. One that is stored is kept."""
    if not origins:
        return
    rows = [
        {
            "message_id": message_id,
            "subject": origin.subject,
            "author": origin.author,
            "encounter": origin.encounter,
        }
        for message_id, origin in sorted(origins.items())
    ]
    session.execute(insert(tables.Origin).on_conflict_do_nothing(), rows)


def load(session: Session, message_ids: Collection[MessageId]) -> dict[MessageId, Origin]:
    """The origins of those of the messages that have one."""
    rows = session.scalars(select(tables.Origin).where(tables.Origin.message_id == func.any(list(message_ids))))
    return {MessageId(row.message_id): Origin(row.subject, row.author, row.encounter) for row in rows}


def remove_older_than(session: Session, age: timedelta, *, limit: int) -> int:
    """Deletes the origins of messages that were received that long ago; returns their number, at most the limit."""
    old = (
        select(tables.Origin.message_id)
        .where(tables.Origin.created_at < func.statement_timestamp() - age)
        .order_by(tables.Origin.created_at)
        .limit(limit)
    )
    removed = session.scalars(
        delete(tables.Origin).where(tables.Origin.message_id.in_(old)).returning(tables.Origin.message_id),
        execution_options=_NO_SYNC,
    )
    return len(removed.all())
