"""A stored photo that a person is going to see: where its bytes are, and the model that scored it."""

from dataclasses import dataclass
from uuid import UUID

from triage.domain.actors import check_actor
from triage.domain.card import Card
from triage.domain.ids import AttachmentId, MessageId, ModelVersionId
from triage.domain.messages import ClaimedAttachment
from triage.errors import NotFoundError, UsageError
from triage.storage import attachments, audit, messages
from triage.storage import model_versions as models
from triage.storage.attachments import StoredAttachment
from triage.storage.database import Sessions
from triage.storage.message_states import load_verdict
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class ViewedPhoto:
    """
    Attributes:
        attachment: what a `Source` fetches.
        sha256: hash of the bytes that were scored. Those at a URI may have changed.
        card: of the model whose verdict counts.
    """

    attachment: ClaimedAttachment
    sha256: str
    card: Card


@use_case
def view_photo(
    sessions: Sessions,
    message: str | MessageId,
    source: str | None = None,
    photo: str | AttachmentId | None = None,
    *,
    by: str,
) -> ViewedPhoto:
    """Finds a scored photo of a message and records in the audit trail that a person views it.

    Args:
        sessions: of the worker role; the report role may not read where photos are.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        photo: the sender's id of the photo, or its own id; required if the message has several.
        by: actor id of the person who views it.

    Raises:
        UsageError: the message or the photo is unknown or ambiguous, the photo was not scored, its bytes were removed,
            or `by` is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        message_id = MessageId(messages.find_message(session, message, source).id)
        chosen = _choose(attachments.list_attachments(session, [message_id]), photo)
        rows = load_verdict(session, chosen.id)
        if rows is None or rows.model is None or chosen.sha256 is None:
            raise UsageError("the photo was not scored: choose a scored photo")
        if chosen.uri is None and attachments.is_purged(session, chosen.sha256):
            raise UsageError("the bytes of the photo were removed after their retention: choose a newer message")
        card = models.get(session, ModelVersionId(rows.model.id)).card
        audit.record(
            session,
            actor=by,
            action="photo.seen",
            subject_kind="message",
            subject_id=message_id,
            attachment=str(chosen.id),
        )
    return ViewedPhoto(ClaimedAttachment(chosen.id, chosen.sha256, chosen.uri), chosen.sha256, card)


def _choose(photos: list[StoredAttachment], name: str | AttachmentId | None) -> StoredAttachment:
    names = [{each.id} if isinstance(name, UUID) else {each.external_id, str(each.id)} for each in photos]
    found = [each for each, own in zip(photos, names, strict=True) if name is None or name in own]
    if not found:
        raise NotFoundError("the message has no photo with this id: list its photos with their ids first")
    if len(found) > 1:
        raise UsageError(f"the message has {len(found)} photos: name one of them")
    return found[0]
