"""Proposals: simulated changes that were saved. Each is an event of the audit trail, which is append-only."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from triage.domain.ids import new_id
from triage.domain.proposals import Proposal
from triage.errors import NotFoundError, UsageError
from triage.storage import audit
from triage.storage.tables import PROPOSAL, AuditEvent

_KIND: Final = "proposal"
_SAVED: Final = "proposal.saved"
_APPLIED: Final = "proposal.applied"


def save(session: Session, name: str, simulation: dict[str, Any], *, actor: str) -> None:
    """Saves a proposal.

    Raises:
        UsageError: the name is taken.
    """
    if any(proposal.name == name for proposal in list_proposals(session)):
        raise UsageError(f"a proposal {name!r} exists: choose another name")
    audit.record(
        session,
        actor=actor,
        action=_SAVED,
        subject_kind=_KIND,
        subject_id=new_id(),
        name=name,
        simulation=simulation,
    )


def record_applied(session: Session, proposal: Proposal, *, actor: str) -> None:
    """Records that a proposal was applied, in the transaction that applies it."""
    audit.record(session, actor=actor, action=_APPLIED, subject_kind=_KIND, subject_id=proposal.id)


def find(session: Session, name: str) -> Proposal:
    """
    Raises:
        NotFoundError: no proposal has this name.
    """
    for proposal in list_proposals(session):
        if proposal.name == name:
            return proposal
    raise NotFoundError("no proposal has this name: list the proposals and choose one")


def list_proposals(session: Session) -> Sequence[Proposal]:
    """All proposals, the newest first."""
    events = session.scalars(select(AuditEvent).where(PROPOSAL).order_by(AuditEvent.position.desc())).all()
    applied: dict[UUID, AuditEvent] = {}
    for event in events:
        if event.action == _APPLIED:
            applied.setdefault(event.subject_id, event)
    return [
        Proposal(
            event.subject_id,
            str(event.details["name"]),
            event.at,
            event.actor,
            event.details["simulation"],
            *((last.at, last.actor) if (last := applied.get(event.subject_id)) else (None, None)),
        )
        for event in events
        if event.action == _SAVED
    ]
