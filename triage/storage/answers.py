"""Answers to the system that messages were read from, as their rows are now. See `triage.domain.answers`.

An answer is the present state and not that of its event, so that answers may be sent in any order, and repeated.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import exists, func, select, true
from sqlalchemy.orm import Session

from triage.domain.answers import Answer, AnsweredPhoto, ModelVerdict, RequestAnswer, VerdictsAnswer
from triage.domain.card import label_of
from triage.domain.deliveries import ClaimedDelivery
from triage.domain.ids import AttachmentId, EventId, MessageId, RetakeRequestId
from triage.domain.messages import Origin
from triage.domain.photos import Finding
from triage.domain.replies import Reply
from triage.domain.states import AttachmentStatus, DecidedBy, EventKind, RetakeStatus, VerdictOrigin
from triage.errors import ErrorCode
from triage.storage import origins
from triage.storage.tables import Attachment, Decision, Message, ModelVersion, RetakeRequest, Thread, Verdict


def load(session: Session, claimed: Collection[ClaimedDelivery], *, source: str) -> dict[EventId, Answer]:
    """Reads what these deliveries write back. Those about messages of other sources have no answer.

    Verdicts on a forgotten message are not written back; that its request is withdrawn is.
    """
    ids = {each.message_id for each in claimed}
    rows = session.execute(
        select(Message.id, Message.external_id, Message.forgotten_at, Thread.external_id.label("thread"))
        .join(Thread, Thread.id == Message.thread_id)
        .where(Message.id == func.any(list(ids)), Message.source == source)
    )
    messages = {MessageId(row.id): row for row in rows}
    found = origins.load(session, list(messages))
    decided = [each for each in claimed if each.kind is EventKind.MESSAGE_DECIDED and each.message_id in messages]
    asked = [each for each in claimed if each.kind is not EventKind.MESSAGE_DECIDED and each.message_id in messages]
    photos = _photos(session, {each.message_id for each in decided})
    requests = _requests(session, asked, messages, found)
    verdicts: dict[EventId, Answer] = {
        each.id: VerdictsAnswer(
            messages[each.message_id].external_id, found.get(each.message_id), photos.get(each.message_id, [])
        )
        for each in decided
        if messages[each.message_id].forgotten_at is None
    }
    return verdicts | {each.id: requests[each.subject_id] for each in asked if each.subject_id in requests}


def _photos(session: Session, message_ids: Collection[MessageId]) -> dict[MessageId, list[AnsweredPhoto]]:
    """With their latest verdicts of the inbox, or of a rescoring that decided the message: others decide nothing."""
    has_decided = (
        exists()
        .where(
            Decision.message_id == Attachment.message_id,
            Decision.decided_by == DecidedBy.RESCORING,
            Decision.model_version_id == Verdict.model_version_id,
        )
        .correlate(Attachment, Verdict)
    )
    counts = (Verdict.origin == VerdictOrigin.INBOX) | ((Verdict.origin == VerdictOrigin.RESCORING) & has_decided)
    latest = (
        select(Verdict)
        .where(Verdict.attachment_id == Attachment.id, counts)
        .correlate(Attachment)
        .order_by(Verdict.id.desc())
        .limit(1)
        .lateral("latest")
    )
    rows = session.execute(
        select(
            Attachment.id,
            Attachment.message_id,
            Attachment.external_id,
            Attachment.status,
            Attachment.error_code,
            Attachment.finished_at,
            latest.c.id.label("verdict_id"),
            latest.c.score,
            latest.c.threshold,
            latest.c.acceptable,
            latest.c.grade,
            latest.c.findings,
            latest.c.created_at.label("scored_at"),
            ModelVersion.card,
            ModelVersion.weights_sha256,
        )
        .select_from(Attachment)
        .outerjoin(latest, true())
        .outerjoin(ModelVersion, ModelVersion.id == latest.c.model_version_id)
        .where(Attachment.message_id == func.any(list(message_ids)), Attachment.finished_at.is_not(None))
        .order_by(Attachment.id)
    )
    photos: dict[MessageId, list[AnsweredPhoto]] = {}
    for row in rows:
        photos.setdefault(MessageId(row.message_id), []).append(
            AnsweredPhoto(
                id=AttachmentId(row.id),
                external_id=row.external_id,
                verdict=_verdict(row) if row.status == AttachmentStatus.SCORED else None,
                error_code=ErrorCode(row.error_code) if row.error_code else None,
                at=row.finished_at,
            )
        )
    return photos


def _verdict(row: Any) -> ModelVerdict:
    return ModelVerdict(
        id=row.verdict_id,
        score=row.score,
        threshold=row.threshold,
        acceptable=row.acceptable,
        grade=row.grade,
        findings=[Finding(**finding) for finding in row.findings],
        model=label_of(row.card),
        weights_sha256=row.weights_sha256,
        at=row.scored_at,
    )


def _requests(
    session: Session,
    claimed: Collection[ClaimedDelivery],
    messages: Mapping[MessageId, Any],
    found: Mapping[MessageId, Origin],
) -> dict[object, RequestAnswer]:
    rows = session.scalars(
        select(RetakeRequest).where(RetakeRequest.id == func.any([each.subject_id for each in claimed]))
    )
    return {
        row.id: RequestAnswer(
            id=RetakeRequestId(row.id),
            message=messages[MessageId(row.message_id)].external_id,
            thread=messages[MessageId(row.message_id)].thread,
            origin=found.get(MessageId(row.message_id)),
            reply=Reply(**row.reply) if row.reply else None,
            is_withdrawn=row.status == RetakeStatus.WITHDRAWN,
            at=row.created_at,
            is_answered=row.answered_at is not None,
        )
        for row in rows
    }
