"""Decisions: assessed messages, the history of their threads, and the append-only chain of decisions."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, or_, select, true, update
from sqlalchemy.orm import Session
from sqlalchemy.types import Uuid

from triage.domain.deliveries import NewEvent
from triage.domain.ids import AttachmentId, DecisionId, MessageId, ThreadId
from triage.domain.messages import AssessedPhoto, ThreadHistory
from triage.domain.photos import Finding
from triage.domain.queue import WAITING_OUTCOMES
from triage.domain.states import AttachmentStatus, DecidedBy, EventKind, Outcome, Reason, RetakeStatus, VerdictOrigin
from triage.storage import deliveries, queue
from triage.storage.database import recordset
from triage.storage.retake_requests import MAY_HAVE_BEEN_SENT
from triage.storage.tables import Attachment, Decision, Message, ModelVersion, RetakeRequest, Verdict


@dataclass(frozen=True, slots=True)
class CurrentDecision:
    id: DecisionId
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy


@dataclass(frozen=True, slots=True)
class AssessedMessage:
    """A message whose attachments all have a result, with the inputs of its decision and of its retake request."""

    id: MessageId
    thread_id: ThreadId
    opted_out: bool
    locale: str
    photos: Sequence[AssessedPhoto]
    model_version_id: UUID | None
    current: CurrentDecision | None


@dataclass(frozen=True, slots=True)
class NewDecision:
    id: DecisionId
    message_id: MessageId
    supersedes_id: DecisionId | None
    outcome: Outcome
    reason: Reason
    decided_by: DecidedBy
    model_version_id: UUID | None = None
    actor: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PastRequest:
    message_id: MessageId
    flagged_at: datetime
    photos: frozenset[str]


@dataclass(slots=True)
class Threads:
    """The retake requests of threads, updated while their messages are decided.

    Attributes:
        now: time of the database's clock.
        requests: the requests of each thread, without those that were withdrawn before a sender claimed them.
    """

    now: datetime
    requests: dict[ThreadId, list[PastRequest]]

    def history_before(self, message: AssessedMessage) -> ThreadHistory:
        """The history of the thread without the message itself."""
        others = [past for past in self.requests[message.thread_id] if past.message_id != message.id]
        return ThreadHistory(
            requests=len(others),
            last_request_at=max((past.flagged_at for past in others), default=None),
            photos=frozenset().union(*(past.photos for past in others)),
        )

    def add(self, message: AssessedMessage) -> None:
        """Adds the request that is about to be flagged for this message."""
        if any(past.message_id == message.id for past in self.requests[message.thread_id]):
            return
        photos = frozenset(photo.sha256 for photo in message.photos if photo.sha256)
        self.requests[message.thread_id].append(PastRequest(message.id, self.now, photos))


def load_assessed(
    session: Session, message_ids: Collection[UUID], *, by_model: UUID | None = None
) -> list[AssessedMessage]:
    """Loads the messages among these that have no pending attachment, oldest first.

    Args:
        session: of the caller's transaction.
        message_ids: messages to load.
        by_model: prefer the verdicts of this model, of any origin. By default, the latest verdict of the inbox counts.
    """
    inbox = Verdict.origin == VerdictOrigin.INBOX
    preferred = Verdict.model_version_id == by_model
    latest = (
        select(Verdict.score, Verdict.threshold, Verdict.findings, Verdict.model_version_id)
        .where(Verdict.attachment_id == Attachment.id, or_(inbox, preferred) if by_model else inbox)
        .order_by(*([preferred.desc()] if by_model else []), Verdict.id.desc())
        .limit(1)
        .lateral("latest")
    )
    rows = session.execute(
        select(
            Message.id,
            Message.thread_id,
            Message.opted_out,
            Message.locale,
            Attachment.id.label("attachment_id"),
            Attachment.external_id,
            Attachment.photo_group,
            Attachment.status,
            Attachment.sha256,
            latest.c.score,
            latest.c.threshold,
            latest.c.findings,
            latest.c.model_version_id,
            Decision.id.label("decision_id"),
            Decision.outcome,
            Decision.reason,
            Decision.decided_by,
        )
        .join(Attachment, Attachment.message_id == Message.id)
        .outerjoin(latest, true())
        .outerjoin(Decision, Decision.id == Message.current_decision_id)
        .where(Message.id == func.any(list(message_ids)))
        .order_by(Message.id, Attachment.id)
    ).all()
    by_count = _thresholds_by_photo_count(session, {row.model_version_id for row in rows if row.model_version_id})
    open_ = {AttachmentStatus.PENDING, AttachmentStatus.IN_PROGRESS}
    messages = (list(group) for _, group in groupby(rows, key=lambda row: row.id))
    return [_assessed(group, by_count) for group in messages if not any(row.status in open_ for row in group)]


def _thresholds_by_photo_count(session: Session, model_ids: Collection[UUID]) -> dict[UUID, dict[int, float]]:
    if not model_ids:
        return {}
    rows = session.execute(
        select(ModelVersion.id, ModelVersion.card["thresholds_by_photo_count"].label("thresholds")).where(
            ModelVersion.id.in_(model_ids)
        )
    )
    return {row.id: {int(count): value for count, value in (row.thresholds or {}).items()} for row in rows}


def _assessed(rows: Sequence[Any], by_count: Mapping[UUID, Mapping[int, float]]) -> AssessedMessage:
    head = rows[0]
    models = [row.model_version_id for row in rows if row.model_version_id]
    return AssessedMessage(
        id=head.id,
        thread_id=head.thread_id,
        opted_out=head.opted_out,
        locale=head.locale,
        photos=[
            AssessedPhoto(
                id=AttachmentId(row.attachment_id),
                external_id=row.external_id,
                group=row.photo_group,
                score=row.score if row.status == AttachmentStatus.SCORED else None,
                threshold=row.threshold or 0.0,
                thresholds_by_photo_count=by_count.get(row.model_version_id, {}),
                sha256=row.sha256,
                findings=[Finding(**finding) for finding in row.findings or ()],
            )
            for row in rows
        ],
        model_version_id=max(models, default=None),
        current=CurrentDecision(
            head.decision_id, Outcome(head.outcome), Reason(head.reason), DecidedBy(head.decided_by)
        )
        if head.decision_id
        else None,
    )


def load_threads(session: Session, thread_ids: Collection[ThreadId]) -> Threads:
    """Loads the requests that limit further requests in these threads. The caller holds the locks of the threads."""
    rows = session.execute(
        select(
            RetakeRequest.thread_id,
            RetakeRequest.message_id,
            RetakeRequest.created_at,
            func.array_agg(Attachment.sha256).label("photos"),
        )
        .join(Attachment, Attachment.message_id == RetakeRequest.message_id)
        .where(
            RetakeRequest.thread_id == func.any(list(thread_ids)),
            or_(RetakeRequest.status != RetakeStatus.WITHDRAWN, MAY_HAVE_BEEN_SENT),
        )
        .group_by(RetakeRequest.id)
    ).all()
    requests: dict[ThreadId, list[PastRequest]] = {thread_id: [] for thread_id in thread_ids}
    for row in rows:
        photos = frozenset(sha256 for sha256 in row.photos if sha256)
        requests[row.thread_id].append(PastRequest(row.message_id, row.created_at, photos))
    return Threads(session.scalars(select(func.clock_timestamp())).one(), requests)


def append_decisions(session: Session, decisions: Sequence[NewDecision]) -> None:
    """Appends decisions, makes each the current one of its message, and stores the events for other systems.

    A message whose decision leaves the next step to a person enters the queue; another one leaves it.
    """
    if not decisions:
        return
    columns = [field.name for field in fields(NewDecision)]
    rows = [{name: getattr(decision, name) for name in columns} for decision in decisions]
    session.execute(insert(Decision), rows)
    current = recordset(
        "current",
        [{"id": decision.id, "message_id": decision.message_id} for decision in decisions],
        id=Uuid(),
        message_id=Uuid(),
    )
    session.execute(
        update(Message).where(Message.id == current.c.message_id).values(current_decision_id=current.c.id),
        execution_options={"synchronize_session": False},
    )
    for_people = [each for each in decisions if each.outcome in WAITING_OUTCOMES]
    queue.put(session, [(each.message_id, each.outcome, each.reason) for each in for_people])
    queue.take_out(session, [each.message_id for each in decisions if each.supersedes_id and each not in for_people])
    deliveries.enqueue(
        session, [NewEvent(EventKind.MESSAGE_DECIDED, decision.message_id, decision.id) for decision in decisions]
    )


def current_outcome(session: Session, message_id: MessageId) -> Outcome | None:
    """The outcome of the decision on a message that holds now, or None."""
    current = select(Decision.outcome).join(Message, Message.current_decision_id == Decision.id)
    outcome = session.scalar(current.where(Message.id == message_id))
    return None if outcome is None else Outcome(outcome)


def last_two(session: Session, message_id: MessageId) -> tuple[Decision, Decision | None]:
    """The current decision of a message, and the one that it superseded. The message must be decided."""
    current = session.scalars(
        select(Decision).join(Message, Message.current_decision_id == Decision.id).where(Message.id == message_id)
    ).one()
    return current, None if current.supersedes_id is None else session.get_one(Decision, current.supersedes_id)
