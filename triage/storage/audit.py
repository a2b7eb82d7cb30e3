"""The audit trail: who did what to which row. Append-only, ids and codes only, a chain of hashes.

The database gives each event its place: a position, the hash of the event before, and a hash over all of it. Here the
hashes are computed a second time, from the rows alone.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, cast, func, insert, select
from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.audit import Anchor, Flaw, Verification
from triage.domain.ids import new_id
from triage.errors import TriageError
from triage.storage.tables import AuditEvent, AuditHead

GENESIS: Final = "0" * 64
"""The hash before the first event."""

_ROWS_AT_ONCE: Final = 1000


def record(session: Session, *, actor: str, action: str, subject_kind: str, subject_id: UUID, **details: Any) -> None:
    """Appends an event to the transaction that does the deed, so that neither is there without the other.

    It is the last thing that a transaction does: whoever appends next waits for its end. The database adds the role.

    Raises:
        UsageError: the actor id is malformed.
    """
    session.execute(
        insert(AuditEvent).values(
            id=new_id(),
            actor=check_actor(actor),
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            details=details,
        )
    )


def record_view(session: Session, message_id: UUID, *, actor: str) -> None:
    """Appends that somebody looked at a message. The one thing that a role which only reads may write."""
    session.execute(select(func.record_view(new_id(), message_id, check_actor(actor))))


def events_of(session: Session, *subject_ids: UUID) -> list[AuditEvent]:
    """What was done to these rows, oldest first."""
    return list(
        session.scalars(select(AuditEvent).where(AuditEvent.subject_id.in_(subject_ids)).order_by(AuditEvent.position))
    )


def head(session: Session) -> Anchor:
    """The end of the chain, to be noted where nobody who can write to this database can write."""
    noted = _noted(session)
    if noted is None:
        raise TriageError("the head of the audit trail is missing: verify the trail, then restore it from a backup")
    return noted


def verify(session: Session, anchor: Anchor | None = None) -> Verification:
    """Reads the whole chain and finds events that were changed, taken out, reordered or cut off at the end.

    Who owns the tables can write a whole new chain, with its head: that is found only by comparing with an anchor.

    Args:
        session: its transaction should be new, so that all reads see one state.
        anchor: a head that was noted before.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    noted = _noted(session)
    last, flaws, events = Anchor(0, GENESIS), list[Flaw](), 0
    anchored = anchor is None or anchor == last
    for row in _rows(session):
        events += 1
        flaws += _flaws(row, last)
        last = Anchor(row.position, row.hash)
        anchored = anchored or last == anchor
    if noted is None:
        flaws.append(Flaw(last.position, "headless"))
    elif last != noted:
        kind = "cut_off" if last.position < noted.position else "replaced"
        flaws.append(Flaw(max(last.position, noted.position), kind))
    if anchor is not None and not anchored:
        flaws.append(Flaw(anchor.position, "cut_off" if anchor.position > last.position else "replaced"))
    return Verification(events, last, flaws)


def _noted(session: Session) -> Anchor | None:
    row = session.execute(select(AuditHead.position, AuditHead.hash)).one_or_none()
    return None if row is None else Anchor(row.position, row.hash)


def _rows(session: Session) -> Iterator[Any]:
    at = func.to_char(func.timezone("UTC", AuditEvent.at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    query = select(
        AuditEvent.position,
        AuditEvent.previous_hash,
        AuditEvent.hash,
        AuditEvent.id,
        at.label("at"),
        AuditEvent.actor,
        AuditEvent.action,
        AuditEvent.subject_kind,
        AuditEvent.subject_id,
        cast(AuditEvent.details, Text).label("details"),
    ).order_by(AuditEvent.position)
    return iter(session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)))


def _flaws(row: Any, last: Anchor) -> Iterator[Flaw]:
    if row.position != last.position + 1:
        yield Flaw(last.position + 1, "missing")
    elif row.previous_hash != last.hash:
        yield Flaw(row.position, "reordered", row.id)
    if row.hash != _hash(row):
        yield Flaw(row.position, "changed", row.id)


def _hash(row: Any) -> str:
    fields = (
        row.previous_hash,
        row.position,
        row.id,
        row.at,
        row.actor,
        row.action,
        row.subject_kind,
        row.subject_id,
        row.details,
    )
    encoded = (str(field).encode() for field in fields)
    return hashlib.sha256(b"".join(b"%d:%s," % (len(field), field) for field in encoded)).hexdigest()
