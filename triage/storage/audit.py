"""The audit trail: who did what to which row. It is append-only and a chain of hashes.

It holds ids and codes, and the names and reasons that staff give to what has no table, such as the reason of a
forced promotion; never patient data.

A trigger gives each event its position, the hash of the preceding event, and a hash of the whole event. Verification
computes the hashes again from the rows.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, cast, func, insert, select, text
from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.audit import Anchor, Flaw, Verification
from triage.domain.ids import new_id
from triage.errors import TriageError
from triage.storage.tables import AuditEvent, AuditHead

GENESIS: Final = "0" * 64
"""The hash that precedes the first event."""

_ROWS_PER_FETCH: Final = 1000


def record(session: Session, *, actor: str, action: str, subject_kind: str, subject_id: UUID, **details: Any) -> None:
    """Appends an event in the transaction of the recorded change, so that neither is committed without the other.

    Call it last in a transaction: it blocks other writers of the trail until the commit. The database adds the role.

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


def record_change_of(
    session: Session, *, actor: str, verb: str, kind: str, kinds: str, one: UUID | None, n_changed: int
) -> None:
    """Appends the event of a change of one row, or of all rows that need it.

    The latter is one event with their number, because each event blocks other writers of the trail until the commit.
    None is appended if all were asked for and there were none.

    Args:
        session: of the transaction of the change.
        actor: actor id of the person.
        verb: what was done, such as `retried`.
        kind: of one row, such as `delivery`.
        kinds: its plural.
        one: the row; None for all.
        n_changed: number of rows that were changed.
    """
    if one is not None:
        record(session, actor=actor, action=f"{kind}.{verb}", subject_kind=kind, subject_id=one)
    elif n_changed:
        action = f"{kinds}.{verb}"
        record(session, actor=actor, action=action, subject_kind=kinds, subject_id=new_id(), **{kinds: n_changed})


def record_view(session: Session, message_id: UUID, *, actor: str) -> None:
    """Appends the event that a person viewed a message. Read-only roles can write nothing else."""
    session.execute(select(func.record_view(new_id(), message_id, check_actor(actor))))


def events_of(session: Session, *subject_ids: UUID) -> list[AuditEvent]:
    """The events of these subjects, oldest first."""
    return list(
        session.scalars(select(AuditEvent).where(AuditEvent.subject_id.in_(subject_ids)).order_by(AuditEvent.position))
    )


def owner_events(session: Session, subject_id: UUID, *actions: str) -> list[AuditEvent]:
    """The events of a subject that the owner of the tables recorded, oldest first.

    Other roles can append events too, but the database records the role in each event.
    """
    owners = set(session.scalars(_OWNERS))
    events = events_of(session, subject_id)
    return [event for event in events if event.action in actions and event.details.get("role") in owners]


_OWNERS: Final = text(
    "SELECT rolname FROM pg_roles "
    "WHERE pg_has_role(oid, (SELECT relowner FROM pg_class WHERE oid = 'audit_event'::regclass), 'member')"
)


def head(session: Session) -> Anchor:
    """The head of the chain. Keep a copy where writers of this database cannot change it.

    Raises:
        TriageError: the head is missing.
    """
    stored = _stored_head(session)
    if stored is None:
        raise TriageError("the head of the audit trail is missing: verify the trail, then restore it from a backup")
    return stored


def verify(session: Session, anchor: Anchor | None = None) -> Verification:
    """Reads the whole chain and finds events that were changed, removed, reordered or cut off at the end.

    The owner of the tables can write a new chain with a consistent head. Only comparison with an anchor detects that.

    Args:
        session: of a new transaction, so that all reads see one snapshot.
        anchor: a head that was recorded outside the database.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    stored = _stored_head(session)
    last, flaws, events = Anchor(0, GENESIS), list[Flaw](), 0
    anchored = anchor is None or anchor == last
    for row in _rows(session):
        events += 1
        flaws += _flaws(row, last)
        last = Anchor(row.position, row.hash)
        anchored = anchored or last == anchor
    if stored is None:
        flaws.append(Flaw(last.position, "headless"))
    elif last != stored:
        kind = "cut_off" if last.position < stored.position else "replaced"
        flaws.append(Flaw(max(last.position, stored.position), kind))
    if anchor is not None and not anchored:
        flaws.append(Flaw(anchor.position, "cut_off" if anchor.position > last.position else "replaced"))
    return Verification(events, last, flaws)


def _stored_head(session: Session) -> Anchor | None:
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
    return iter(session.execute(query.execution_options(yield_per=_ROWS_PER_FETCH)))


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
