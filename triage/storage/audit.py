"""The audit trail: who did what to which row. Append-only, ids and codes only."""

from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from triage.domain import new_id
from triage.storage.tables import AuditEvent


def record(session: Session, *, actor: str, action: str, subject_kind: str, subject_id: UUID, **details: Any) -> None:
    """Appends an event to the transaction that does the deed, so that neither is there without the other."""
    session.execute(
        insert(AuditEvent).values(
            id=new_id(),
            actor=actor,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            details=details,
        )
    )


def events_of(session: Session, *subject_ids: UUID) -> list[AuditEvent]:
    """What was done to these rows, oldest first."""
    return list(
        session.scalars(select(AuditEvent).where(AuditEvent.subject_id.in_(subject_ids)).order_by(AuditEvent.id))
    )
