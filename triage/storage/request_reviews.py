"""Reviews of retake requests as rows, and a random draw of requests to review."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import String, cast, exists, func, select, true
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from triage.domain.ids import MessageId, RetakeRequestId, new_id
from triage.domain.reporting import Period
from triage.domain.states import ReviewKind
from triage.storage.report_sums import within
from triage.storage.tables import Message, RequestReview, RetakeRequest


@dataclass(frozen=True, slots=True)
class ProposedRequest:
    """A request to review.

    Attributes:
        message: the sender's id of its message.
        is_reviewed: by anybody.
    """

    id: RetakeRequestId
    source: str
    message: str
    is_reviewed: bool


def latest_request(session: Session, message_id: MessageId) -> RetakeRequestId | None:
    """The latest retake request of a message, of any status, or None."""
    query = select(RetakeRequest.id).where(RetakeRequest.message_id == message_id).order_by(RetakeRequest.id.desc())
    found = session.scalar(query.limit(1))
    return None if found is None else RetakeRequestId(found)


def add(
    session: Session, request_id: RetakeRequestId, kind: ReviewKind, *, needless: bool, by: str, note: str | None
) -> UUID | None:
    """Adds a review, or returns None if this person's review of this kind is there already."""
    row = {"id": new_id(), "request_id": request_id, "kind": kind, "needless": needless, "actor": by, "note": note}
    added = insert(RequestReview).values(row).on_conflict_do_nothing().returning(RequestReview.id)
    return session.scalar(added)


def says_needless(session: Session, request_id: RetakeRequestId, kind: ReviewKind, *, by: str) -> bool | None:
    """What this person's review of this kind says, or None if there is none."""
    mine = (RequestReview.request_id == request_id) & (RequestReview.kind == kind) & (RequestReview.actor == by)
    return session.scalar(select(RequestReview.needless).where(mine))


@dataclass(frozen=True, slots=True)
class Appeal:
    """What a person says against a request. `reason` is None after the message was forgotten."""

    actor: str
    reason: str | None
    created_at: datetime


def appeals_of(session: Session, message_id: MessageId) -> list[Appeal]:
    """The appeals against the requests of a message, oldest first."""
    query = (
        select(RequestReview.actor, RequestReview.note, RequestReview.created_at)
        .join(RetakeRequest, RetakeRequest.id == RequestReview.request_id)
        .where(RetakeRequest.message_id == message_id, RequestReview.kind == ReviewKind.APPEAL)
        .order_by(RequestReview.id)
    )
    return [Appeal(row.actor, row.note, row.created_at) for row in session.execute(query)]


def is_appealed(session: Session, request_id: RetakeRequestId) -> bool:
    """Whether anyone has appealed against a request."""
    appeal = exists().where(RequestReview.request_id == request_id, RequestReview.kind == ReviewKind.APPEAL)
    return bool(session.scalar(select(appeal)))


def draw(
    session: Session, period: Period, *, seed: int, n: int, sources: Sequence[str] | None = None
) -> tuple[int, list[ProposedRequest]]:
    """Draws requests of a period at random: the first ones in the order of a hash of their ids and a seed.

    So a larger draw continues a smaller one. Requests of forgotten messages are left out: nothing is left to look at.
    `sources` limits the draw to messages of these.

    Returns:
        The number of requests to draw from, and the drawn ones.
    """
    reviewed = exists().where(RequestReview.request_id == RetakeRequest.id, RequestReview.kind == ReviewKind.REVIEW)
    drawn = func.md5(func.concat(cast(RetakeRequest.id, String), ":", str(seed)))
    asked = (  # one look-up for each request: the planner may read all messages for a join
        select(Message.source, Message.external_id, Message.forgotten_at)
        .where(Message.id == RetakeRequest.message_id)
        .limit(1)
        .lateral("asked")
    )
    rows = session.execute(
        select(
            RetakeRequest.id,
            asked.c.source,
            asked.c.external_id.label("message"),
            reviewed.label("is_reviewed"),
            func.count().over().label("total"),
        )
        .join(asked, true())
        .where(*within(RetakeRequest.created_at, period), asked.c.forgotten_at.is_(None))
        .where(true() if sources is None else asked.c.source.in_(sources))
        .order_by(drawn)
        .limit(n)
    ).all()
    proposed = [ProposedRequest(RetakeRequestId(row.id), row.source, row.message, row.is_reviewed) for row in rows]
    return rows[0].total if rows else 0, proposed
