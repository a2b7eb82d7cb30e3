"""Proposals: simulated changes that were saved. Each is an event of the audit trail, which is append-only."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, select
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
    if _proposals(session, _is_named(name)):
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
    if not (found := _proposals(session, _is_named(name))):
        raise NotFoundError("no proposal has this name: list the proposals and choose one")
    return found[0]


def list_proposals(session: Session, *, limit: int | None = None) -> Sequence[Proposal]:
    """All proposals or some, the newest first."""
    return _proposals(session, limit=limit)


def _is_named(name: str) -> ColumnElement[bool]:
    is_named: ColumnElement[bool] = AuditEvent.details["name"].as_string() == name
    return is_named


def _proposals(session: Session, *which: ColumnElement[bool], limit: int | None = None) -> list[Proposal]:
    saved = session.scalars(
        select(AuditEvent)
        .where(PROPOSAL, AuditEvent.action == _SAVED, *which)
        .order_by(AuditEvent.position.desc())
        .limit(limit)
    ).all()
    applications = (
        select(AuditEvent)
        .where(PROPOSAL, AuditEvent.action == _APPLIED, AuditEvent.subject_id.in_([each.subject_id for each in saved]))
        .order_by(AuditEvent.position)
    )
    applied = {event.subject_id: event for event in session.scalars(applications)}  # the last of each
    return [
        Proposal(
            event.subject_id,
            str(event.details["name"]),
            event.at,
            event.actor,
            event.details["simulation"],
            *((last.at, last.actor) if (last := applied.get(event.subject_id)) else (None, None)),
        )
        for event in saved
    ]
