"""Retake requests as users see them: with their messages, photos and replies, and the status of the moment."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select
from sqlalchemy.orm import Session

from triage.domain.card import label_of
from triage.domain.ids import AttachmentId, MessageId, RetakeRequestId
from triage.domain.messages import RetakeRequest as Request
from triage.domain.replies import PhotoReason, Reply, RequestedPhoto
from triage.domain.states import FindingKind, FindingLevel, RetakeStatus
from triage.storage.messages import among
from triage.storage.tables import Attachment, Decision, Message, ModelVersion, RetakeRequest, Thread

_EXPIRED: Final = and_(RetakeRequest.status == RetakeStatus.CLAIMED, RetakeRequest.lease_until < func.clock_timestamp())
WAITING: Final = or_(RetakeRequest.status == RetakeStatus.FLAGGED, _EXPIRED)
"""Requests that a sender can claim."""

STATUS: Final = case((_EXPIRED, RetakeStatus.FLAGGED.value), else_=RetakeRequest.status)
"""The status that users see: a request is flagged again when the lease of its sender has expired."""

MAY_HAVE_BEEN_SENT: Final = or_(RetakeRequest.claimed_by.is_not(None), RetakeRequest.answered_at.is_not(None))
"""Requests that were answered, or that a sender has claimed at least once and may have sent without acknowledgement."""


def find(session: Session, request_id: RetakeRequestId, *, sources: Sequence[str] | None = None) -> Request | None:
    """Returns a request by its id, or None if there is none of these sources."""
    query = _described().where(RetakeRequest.id == request_id, among(sources))
    return next(iter(_requests(session, query)), None)


def list_requests(
    session: Session, *, status: RetakeStatus | None, sources: Sequence[str] | None = None, limit: int
) -> list[Request]:
    """The requests of a status, or of any, newest first."""
    query = _described().where(among(sources)).order_by(RetakeRequest.created_at.desc()).limit(limit)
    return _requests(session, query if status is None else query.where(_has(status)))


def claimed(session: Session, ids: Collection[UUID]) -> list[Request]:
    """The requests with these ids, oldest first."""
    query = _described().where(RetakeRequest.id == func.any(list(ids))).order_by(RetakeRequest.created_at)
    return _requests(session, query)


def _has(status: RetakeStatus) -> ColumnElement[bool]:
    """A condition on the status that users see, in a form that an index serves."""
    match status:
        case RetakeStatus.FLAGGED:
            return WAITING
        case RetakeStatus.CLAIMED:
            return and_(RetakeRequest.status == status, ~_EXPIRED)
        case _:
            return RetakeRequest.status == status


def _described() -> Select[Any]:
    return (
        select(
            RetakeRequest,
            STATUS.label("status"),
            MAY_HAVE_BEEN_SENT.label("may_have_been_sent"),
            Message.source,
            Message.external_id.label("message"),
            Message.locale,
            Thread.external_id.label("thread"),
            ModelVersion.card,
        )
        .join(Message, Message.id == RetakeRequest.message_id)
        .join(Thread, Thread.id == RetakeRequest.thread_id)
        .join(Decision, Decision.id == RetakeRequest.decision_id)
        .outerjoin(ModelVersion, ModelVersion.id == Decision.model_version_id)
    )


def requested_photos(session: Session, rows: Sequence[RetakeRequest]) -> dict[UUID, list[RequestedPhoto]]:
    """The photos of requests, by the id of the request, with the sender's ids as they are now."""
    ids = {UUID(photo["id"]) for row in rows for photo in row.photos}
    found = select(Attachment.id, Attachment.external_id, Attachment.photo_group).where(
        Attachment.id == func.any(list(ids))
    )
    attachments = {each.id: each for each in session.execute(found)} if ids else {}
    return {
        row.id: [
            RequestedPhoto(
                id=AttachmentId(attachment.id),
                external_id=attachment.external_id,
                group=attachment.photo_group,
                score=photo["score"],
                reasons=[
                    PhotoReason(FindingKind(each["kind"]), FindingLevel(each["severity"])) for each in photo["reasons"]
                ],
            )
            for photo in row.photos
            if (attachment := attachments.get(UUID(photo["id"])))
        ]
        for row in rows
    }


def _requests(session: Session, query: Select[Any]) -> list[Request]:
    rows = session.execute(query).all()
    photos = requested_photos(session, [row.RetakeRequest for row in rows])
    return [
        Request(
            id=RetakeRequestId(row.RetakeRequest.id),
            message_id=MessageId(row.RetakeRequest.message_id),
            source=row.source,
            message=row.message,
            thread=row.thread,
            locale=row.locale,
            status=RetakeStatus(row.status),
            may_have_been_sent=row.may_have_been_sent,
            token=row.RetakeRequest.lease_token,
            lease_until=row.RetakeRequest.lease_until,
            created_at=row.RetakeRequest.created_at,
            model=label_of(row.card) if row.card else None,
            photos=photos[row.RetakeRequest.id],
            reply=Reply(**row.RetakeRequest.reply) if row.RetakeRequest.reply else None,
        )
        for row in rows
    ]
