"""What followed the retake requests of a period: answers in their threads, usable photos, and reviews."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from triage.domain.follow_up import RequestRow
from triage.domain.reporting import Period
from triage.domain.states import ArchivedKind, Outcome, RetakeStatus, VerdictOrigin
from triage.storage.archived_counts import archived, likeliest_reason
from triage.storage.report_sums import added, within
from triage.storage.retake_requests import MAY_HAVE_BEEN_SENT
from triage.storage.review_flags import request_reason, review_flags
from triage.storage.tables import ArchivedCount, Attachment, Decision, Message, RetakeRequest, Verdict


@dataclass(frozen=True, slots=True)
class ReviewCount:
    """The requests with the same source, skin type, reason and flags; see `request_reviews.review_flags`."""

    source: str
    fitzpatrick: str | None
    reason: str
    flags: int
    n: int


def follow_requests(session: Session, period: Period, within_time: timedelta) -> tuple[datetime, list[RequestRow]]:
    """Reads what followed each request of a period within a time after it was sent.

    Returns:
        The time of the database's clock, up to which they were followed, and the requests.
    """
    asked_at = func.coalesce(RetakeRequest.sent_at, RetakeRequest.created_at)
    asked = _asked(Message.source)
    answers = _answers(asked_at, within_time).lateral("answers")
    reasons = (
        select(func.array_agg(likeliest_reason().distinct()).label("found"))
        .select_from(Attachment)
        .join(Verdict, Verdict.attachment_id == Attachment.id)
        .where(
            answers.c.usable_at.is_(None),
            Attachment.message_id == answers.c.last_id,
            Verdict.origin == VerdictOrigin.INBOX,
            ~Verdict.acceptable,
        )
        .lateral("reasons")
    )
    named_in_time = and_(RetakeRequest.answered_at > asked_at, RetakeRequest.answered_at <= asked_at + within_time)
    rows = session.execute(
        select(
            asked.c.source,
            RetakeRequest.reply["locale"].astext.label("locale"),
            RetakeRequest.reply["catalogue_version"].astext.label("catalogue_version"),
            request_reason().label("reason"),
            and_(RetakeRequest.status == RetakeStatus.WITHDRAWN, ~MAY_HAVE_BEEN_SENT).label("is_withdrawn"),
            RetakeRequest.sent_at.is_not(None).label("is_sent"),
            asked_at.label("asked_at"),
            case((named_in_time, RetakeRequest.answered_at)).label("named_at"),
            answers.c.answered_at,
            answers.c.usable_at,
            func.coalesce(answers.c.is_decided, False).label("is_decided"),  # an SQL value
            reasons.c.found.label("reasons"),
        )
        .select_from(RetakeRequest)
        .join(asked, true())
        .join(answers, true())
        .join(reasons, true())
        .where(*within(RetakeRequest.created_at, period))
    )
    now = session.scalars(select(func.clock_timestamp())).one()
    # by position: the columns above are in the order of the fields
    return now, [RequestRow(*(*values, reasons or ())) for *values, reasons in rows]


def _asked(*columns: Any) -> Any:
    """The message of a request, by one look-up for each: the planner may read all messages for a join."""
    return select(*columns).where(Message.id == RetakeRequest.message_id).limit(1).lateral("asked")


def _answers(asked_at: ColumnElement[Any], within_time: timedelta) -> Any:
    """The messages of the thread of a request that were received in time after it, as one row."""
    newest_first = Message.received_at.desc()
    usable = Message.received_at
    return (
        select(
            func.min(Message.received_at).label("answered_at"),
            func.min(usable).filter(Decision.outcome == Outcome.PASS).label("usable_at"),
            func.array_agg(aggregate_order_by(Message.id, newest_first))[1].label("last_id"),
            func.array_agg(aggregate_order_by(Message.current_decision_id.is_not(None), newest_first))[1].label(
                "is_decided"
            ),
        )
        .select_from(Message)
        .outerjoin(Decision, Decision.id == Message.current_decision_id)
        .where(
            Message.thread_id == RetakeRequest.thread_id,
            Message.id != RetakeRequest.message_id,
            Message.received_at > asked_at,
            Message.received_at <= asked_at + within_time,
        )
    )


def count_reviews(session: Session, period: Period) -> list[ReviewCount]:
    """Counts the requests of a period by source, skin type, reason, and what people said about them."""
    asked = _asked(Message.source, Message.fitzpatrick, Message.current_decision_id)
    requests = (
        select(asked.c.source, asked.c.fitzpatrick, request_reason().label("reason"), review_flags().label("flags"))
        .select_from(RetakeRequest)
        .join(asked, true())
        .join(Decision, Decision.id == asked.c.current_decision_id)
        .where(*within(RetakeRequest.created_at, period))
        .subquery()
    )
    present = select(*requests.c, cast(func.count(), BigInteger).label("n")).group_by(*requests.c)
    past = select(
        ArchivedCount.source,
        ArchivedCount.fitzpatrick,
        ArchivedCount.label.label("reason"),
        ArchivedCount.bin.label("flags"),
        ArchivedCount.n,
    ).where(*archived(ArchivedKind.REVIEWS, period))
    rows = added(session, present, past, ["source", "fitzpatrick", "reason", "flags"])
    return [ReviewCount(**row) for row in rows]
