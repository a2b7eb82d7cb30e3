"""The feed of decisions."""

from typing import TYPE_CHECKING, Self
from uuid import UUID

from pydantic import Field

from triage.domain.messages import FeedDecision
from triage.domain.states import DecidedBy, Outcome, Reason
from worker.documents.document import Call, Document, UtcTime

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.retakes.feed import DecisionPage


class DecisionsQuery(Call):
    """What `decisions.list` takes: the cursor of the page before, if there was one."""

    after: str | None = None
    limit: int = Field(default=100, ge=1, le=1000, strict=True)


class FeedDecisionDocument(Document):
    """A decision in the feed. `current` is false if a later one has superseded it; `request_id` is the retake request
    that it flagged.
    """

    id: UUID
    message_id: str
    source: str
    thread: str
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model: str | None
    decided_at: UtcTime
    current: bool
    request_id: UUID | None

    @classmethod
    def of(cls, decision: FeedDecision) -> Self:
        return cls(
            id=decision.id,
            message_id=decision.message,
            source=decision.source,
            thread=decision.thread,
            outcome=decision.outcome,
            reason=decision.reason,
            decided_by=decision.decided_by,
            model=decision.model,
            decided_at=decision.decided_at,
            current=decision.is_current,
            request_id=decision.request_id,
        )


class DecisionsDocument(Document):
    """A page of the feed. `cursor` continues after it, also if it is empty."""

    decisions: list[FeedDecisionDocument]
    cursor: str

    @classmethod
    def of(cls, page: "DecisionPage") -> Self:
        return cls(decisions=[FeedDecisionDocument.of(each) for each in page.decisions], cursor=page.cursor)
