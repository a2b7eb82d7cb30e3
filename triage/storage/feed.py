"""The feed of decisions: every committed decision once, in an order that never changes.

Ids and times are given before a commit, so a decision can become visible after one that follows it. The feed therefore
numbers decisions that are committed, one reader at a time: no lower number becomes visible later. See
docs/decisions/0022-number-decisions-after-their-commit.md.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from triage.domain.card import label_of
from triage.domain.ids import DecisionId, MessageId
from triage.domain.messages import FeedDecision
from triage.domain.states import DecidedBy, Outcome, Reason
from triage.storage.messages import among
from triage.storage.tables import (
    DECISION_POSITION,
    UNNUMBERED,
    Decision,
    Message,
    ModelVersion,
    RetakeRequest,
    Thread,
)

_LOCK: Final = func.pg_advisory_xact_lock(func.hashtextextended("decision feed", 0))
_LAST_POSITION: Final = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM decision_position")


def number_decisions(session: Session, *, limit: int) -> None:
    """Gives positions to committed decisions that have none, oldest first. One transaction at a time does so."""
    session.execute(select(_LOCK))
    oldest = (
        select(Decision.id).where(UNNUMBERED).order_by(Decision.created_at, Decision.id).limit(limit).subquery("oldest")
    )
    numbered = select(oldest.c.id, DECISION_POSITION.next_value().label("position")).cte("numbered")
    session.execute(
        update(Decision).where(Decision.id == numbered.c.id).values(position=numbered.c.position),
        execution_options={"synchronize_session": False},
    )


def last_position(session: Session) -> int:
    """The highest position ever given; 0 if there is none."""
    return int(session.scalars(_LAST_POSITION).one())


def decisions_after(
    session: Session, position: int, *, sources: Sequence[str] | None = None, limit: int
) -> list[FeedDecision]:
    """The decisions that follow a position, of these sources."""
    rows = session.execute(
        select(
            Decision,
            Message.source,
            Message.external_id.label("message"),
            Thread.external_id.label("thread"),
            (Message.current_decision_id == Decision.id).label("is_current"),
            ModelVersion.card,
            RetakeRequest.id.label("request_id"),
        )
        .join(Message, Message.id == Decision.message_id)
        .join(Thread, Thread.id == Message.thread_id)
        .outerjoin(ModelVersion, ModelVersion.id == Decision.model_version_id)
        .outerjoin(RetakeRequest, RetakeRequest.decision_id == Decision.id)
        .where(Decision.position > position, among(sources))
        .order_by(Decision.position)
        .limit(limit)
    )
    return [
        FeedDecision(
            position=row.Decision.position,
            id=DecisionId(row.Decision.id),
            message_id=MessageId(row.Decision.message_id),
            source=row.source,
            message=row.message,
            thread=row.thread,
            outcome=Outcome(row.Decision.outcome),
            reason=Reason(row.Decision.reason),
            decided_by=DecidedBy(row.Decision.decided_by),
            model=label_of(row.card) if row.card else None,
            decided_at=row.Decision.created_at,
            is_current=row.is_current,
            request_id=row.request_id,
        )
        for row in rows
    ]
