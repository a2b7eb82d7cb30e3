"""The rows of one message's history, without the columns that the report role may not read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from triage.domain.ids import MessageId
from triage.domain.replies import RequestedPhoto
from triage.domain.states import RetakeStatus
from triage.storage import audit
from triage.storage.retake_requests import STATUS, requested_photos
from triage.storage.tables import (
    Attachment,
    AuditEvent,
    Blob,
    Decision,
    Message,
    ModelVersion,
    RetakeRequest,
    Thread,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class MessageRows:
    """A message with its rows, each list oldest first.

    Attributes:
        message: the message.
        thread: its thread.
        attachments: its photos, each with its blob if there is one. Their URIs and lease tokens are not loaded.
        verdicts: of all models on its photos.
        decisions: the chain of decisions, each superseding the previous one.
        requests: its retake requests, each with the status that users see. Their lease tokens are not loaded.
        requested: the photos of each request, by its id.
        events: audit events of the message and its retake requests.
        models: all model versions by id.
    """

    message: Message
    thread: Thread
    attachments: Sequence[tuple[Attachment, Blob | None]]
    verdicts: Sequence[Verdict]
    decisions: Sequence[Decision]
    requests: Sequence[tuple[RetakeRequest, RetakeStatus]]
    requested: Mapping[UUID, Sequence[RequestedPhoto]]
    events: Sequence[AuditEvent]
    models: dict[UUID, ModelVersion]


def load_history(session: Session, message_id: MessageId) -> MessageRows:
    """Loads a message with all its rows."""
    message = session.get_one(Message, message_id)
    attachments = session.execute(
        select(Attachment, Blob)
        .options(defer(Attachment.uri, raiseload=True), defer(Attachment.lease_token, raiseload=True))
        .outerjoin(Blob, Blob.sha256 == Attachment.sha256)
        .where(Attachment.message_id == message_id)
        .order_by(Attachment.id)
    ).all()
    attachment_ids = [row.Attachment.id for row in attachments]
    requests = session.execute(
        select(RetakeRequest, STATUS.label("status"))
        .options(defer(RetakeRequest.lease_token, raiseload=True))
        .where(RetakeRequest.message_id == message_id)
        .order_by(RetakeRequest.id)
    ).all()
    return MessageRows(
        message=message,
        thread=session.get_one(Thread, message.thread_id),
        attachments=[(row.Attachment, row.Blob) for row in attachments],
        verdicts=session.scalars(
            select(Verdict).where(Verdict.attachment_id.in_(attachment_ids)).order_by(Verdict.id)
        ).all(),
        decisions=_chain(session, message_id),
        requests=[(row.RetakeRequest, RetakeStatus(row.status)) for row in requests],
        requested=requested_photos(session, [row.RetakeRequest for row in requests]),
        events=audit.events_of(session, message.id, *(row.RetakeRequest.id for row in requests)),
        models={model.id: model for model in session.scalars(select(ModelVersion))},
    )


def _chain(session: Session, message_id: MessageId) -> list[Decision]:
    """The decisions of a message in the order in which each superseded the previous one."""
    decisions = session.scalars(select(Decision).where(Decision.message_id == message_id)).all()
    successor = {decision.supersedes_id: decision for decision in decisions}
    chain: list[Decision] = []
    while (following := successor.get(chain[-1].id if chain else None)) is not None:
        chain.append(following)
    return chain
