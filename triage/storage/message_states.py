"""What a sender asks about a message: its photos, its current decision, its retake request, the verdict on a photo."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Integer, func, select
from sqlalchemy.orm import Session, defer

from triage.domain import messages
from triage.domain.ids import MessageId
from triage.domain.messages import KnownMessage
from triage.domain.states import RetakeStatus, VerdictOrigin
from triage.storage.messages import among, find_message
from triage.storage.retake_requests import STATUS
from triage.storage.tables import Attachment, Decision, Message, ModelVersion, Origin, RetakeRequest, Thread, Verdict


@dataclass(frozen=True, slots=True)
class StateRows:
    """A message with the rows of its state.

    Attributes:
        attachments: its photos in the order of their receipt, without URIs and lease tokens.
        decision: the current one.
        model: that made the decision.
        request: the latest retake request, with the status that users see.
    """

    message: Message
    thread: Thread
    attachments: Sequence[Attachment]
    decision: Decision | None
    model: ModelVersion | None
    request: tuple[UUID, RetakeStatus] | None


@dataclass(frozen=True, slots=True)
class VerdictRows:
    """A photo with the verdict that counts, and the model that gave it."""

    attachment: Attachment
    message: Message
    verdict: Verdict | None
    model: ModelVersion | None


def load_state(session: Session, name: str, source: str) -> StateRows:
    """Loads the state of a message.

    Raises:
        NotFoundError: the message is unknown.
        UsageError: `name` or `source` is malformed.
    """
    message = find_message(session, name, source)
    attachments = session.scalars(
        select(Attachment)
        .options(defer(Attachment.uri, raiseload=True), defer(Attachment.lease_token, raiseload=True))
        .where(Attachment.message_id == message.id)
        .order_by(Attachment.id)
    ).all()
    decision = session.get(Decision, message.current_decision_id) if message.current_decision_id else None
    model = session.get(ModelVersion, decision.model_version_id) if decision and decision.model_version_id else None
    request = session.execute(
        select(RetakeRequest.id, STATUS.label("status"))
        .where(RetakeRequest.message_id == message.id)
        .order_by(RetakeRequest.id.desc())
        .limit(1)
    ).first()
    return StateRows(
        message=message,
        thread=session.get_one(Thread, message.thread_id),
        attachments=attachments,
        decision=decision,
        model=model,
        request=None if request is None else (request.id, RetakeStatus(request.status)),
    )


def load_known(session: Session, source: str, names: Collection[str]) -> dict[str, KnownMessage]:
    """The messages of a source among these, by the sender's ids."""
    photos = select(func.count()).where(Attachment.message_id == Message.id).scalar_subquery()
    rows = session.execute(
        select(Message, Thread.external_id, Origin, (photos + Message.opted_out.cast(Integer)).label("version"))
        .join(Thread, Thread.id == Message.thread_id)
        .outerjoin(Origin, Origin.message_id == Message.id)
        .where(Message.source == source, Message.external_id == func.any(list(names)))
    )
    return {
        message.external_id: KnownMessage(
            id=MessageId(message.id),
            version=version,
            thread=thread,
            locale=message.locale,
            received_at=message.received_at,
            origin=messages.Origin(origin.subject, origin.author, origin.encounter) if origin else None,
        )
        for message, thread, origin, version in rows
    }


def load_verdict(session: Session, attachment_id: UUID, *, sources: Sequence[str] | None = None) -> VerdictRows | None:
    """Loads a photo of these sources with its latest verdict that is not a shadow model's, or None if there is none."""
    found = session.execute(
        select(Attachment, Message)
        .options(defer(Attachment.uri, raiseload=True), defer(Attachment.lease_token, raiseload=True))
        .join(Message, Message.id == Attachment.message_id)
        .where(Attachment.id == attachment_id, among(sources))
    ).first()
    if found is None:
        return None
    scored = session.execute(
        select(Verdict, ModelVersion)
        .join(ModelVersion, ModelVersion.id == Verdict.model_version_id)
        .where(Verdict.attachment_id == attachment_id, Verdict.origin != VerdictOrigin.SHADOW)
        .order_by(Verdict.created_at.desc(), Verdict.id.desc())
        .limit(1)
    ).first()
    verdict, model = (scored.Verdict, scored.ModelVersion) if scored else (None, None)
    return VerdictRows(found.Attachment, found.Message, verdict, model)
