"""Samples of independent photos of a period, for the comparison of periods.

Photos of one message resemble each other, and so do the messages of one thread. So a sample has one photo of each
thread: a random one of the thread's first message in the period.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, cast, func, literal, literal_column, select, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from triage.domain.ids import MessageId, ModelVersionId
from triage.domain.states import AttachmentStatus, Outcome
from triage.storage.tables import Attachment, Decision, Message, Verdict

_FINISHED = (AttachmentStatus.SCORED, AttachmentStatus.NOT_ASSESSABLE)


@dataclass(frozen=True, slots=True)
class SampledPhoto:
    """
    Attributes:
        score: by the live model; None if the photo was not scored by it.
        finding: its likeliest reason, or `none`, or `not_assessable`.
        media_type: as detected; None if it was not.
        outcome: of the first decision on its message, which no later event changes; None if it is not decided.
    """

    source: str
    message_id: MessageId
    score: float | None
    finding: str
    media_type: str | None
    outcome: Outcome | None


def draw_sample(
    session: Session, since: datetime, until: datetime, *, model_id: ModelVersionId, size: int
) -> Sequence[SampledPhoto]:
    """Draws at most `size` photos of each source, in random order. The same rows give the same sample.

    Args:
        session: of any role.
        since, until: the period of receipt, without its end.
        model_id: the live model.
        size: of the sample of each source.
    """
    first = (
        select(Message.id, Message.source, Message.thread_id)
        .ext(distinct_on(Message.thread_id))
        .where(Message.received_at >= since, Message.received_at < until)
        .order_by(Message.thread_id, Message.id)
        .subquery()
    )
    rank = func.row_number().over(partition_by=first.c.source, order_by=_random(first.c.id))
    ranked = select(first.c.id, first.c.source, rank.label("rank")).subquery()
    drawn = select(ranked).where(ranked.c.rank <= size).subquery()
    photo = (
        select(Attachment.id, Attachment.media_type, Attachment.status)
        .where(Attachment.message_id == drawn.c.id, Attachment.status.in_(_FINISHED))
        .order_by(_random(Attachment.id))
        .limit(1)
        .lateral("photo")
    )
    first_decision = (  # lateral, so that the planner looks each one up instead of reading all decisions
        select(Decision.outcome)
        .where(Decision.message_id == drawn.c.id, Decision.supersedes_id.is_(None))
        .limit(1)
        .lateral("first_decision")
    )
    kind = literal_column("verdict.findings -> 0 ->> 'kind'", Text())
    rows = session.execute(
        select(
            drawn.c.source,
            drawn.c.id,
            Verdict.score,
            func.coalesce(kind, func.nullif(photo.c.status, literal(AttachmentStatus.SCORED)), "none").label("finding"),
            photo.c.media_type,
            first_decision.c.outcome,
        )
        .join_from(drawn, photo, true())
        .outerjoin(Verdict, (Verdict.attachment_id == photo.c.id) & (Verdict.model_version_id == model_id))
        .outerjoin(first_decision, true())
        .order_by(drawn.c.source, drawn.c.rank)
    )
    return [
        SampledPhoto(
            row.source,
            MessageId(row.id),
            row.score,
            row.finding,
            row.media_type,
            Outcome(row.outcome) if row.outcome else None,
        )
        for row in rows
    ]


def _random(id_: Any) -> ColumnElement[str]:
    """The last digits of a UUIDv7, which are random."""
    return func.right(cast(id_, Text), 12).collate("C")
