"""The state of a message and the verdict on a photo, as their sender reads them."""

from collections.abc import Sequence
from typing import Any, Final

from triage.domain.card import label_of
from triage.domain.ids import AttachmentId
from triage.domain.messages import KnownMessage
from triage.domain.states import AttachmentStatus
from triage.domain.text import check_id, check_word
from triage.errors import NotFoundError
from triage.reports.explain import verdict_json
from triage.storage import message_states
from triage.storage.database import Sessions
from triage.storage.tables import Attachment
from triage.storage.use_case import use_case

_OPEN: Final = {AttachmentStatus.PENDING.value, AttachmentStatus.IN_PROGRESS.value}


@use_case
def message_state(sessions: Sessions, message: str, *, source: str) -> dict[str, Any]:
    """Returns the state of a message as JSON types. It holds no note of a person, and reading it is not audited.

    Args:
        sessions: of any role.
        message: the sender's id of the message, or its own id.
        source: the sender.

    Returns:
        `{message_id, id, source, thread, received_at, photos_pending, outcome, reason, decided_by, model, decided_at,
        attachments[{attachment_id, id, group, status, error_code}], retake_request {id, status}}`. What follows
        `photos_pending` is None until the message is decided; `retake_request` is None if there was none.

    Raises:
        NotFoundError: the message is unknown.
        UsageError: an argument is malformed.
    """
    with sessions() as session:
        rows = message_states.load_state(session, message, source)
    decision = rows.decision
    return {
        "message_id": rows.message.external_id,
        "id": str(rows.message.id),
        "source": rows.message.source,
        "thread": rows.thread.external_id,
        "received_at": rows.message.received_at.isoformat(),
        "photos_pending": sum(attachment.status in _OPEN for attachment in rows.attachments),
        "outcome": decision.outcome if decision else None,
        "reason": decision.reason if decision else None,
        "decided_by": decision.decided_by if decision else None,
        "model": label_of(rows.model.card) if rows.model else None,
        "decided_at": decision.created_at.isoformat() if decision else None,
        "attachments": [_attachment(attachment) for attachment in rows.attachments],
        "retake_request": {"id": str(rows.request[0]), "status": rows.request[1].value} if rows.request else None,
    }


@use_case
def known_messages(sessions: Sessions, names: Sequence[str], *, source: str) -> dict[str, KnownMessage]:
    """Returns the messages of a source among those with these ids of the sender, by that id.

    Raises:
        UsageError: an argument is malformed.
    """
    check_word(source, "source")
    for name in names:
        check_id(name, "message id")
    with sessions() as session:
        return message_states.load_known(session, source, names)


@use_case
def verdict_of(sessions: Sessions, attachment: AttachmentId, *, sources: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns the verdict on a photo as JSON types: the latest one that is not a shadow model's.

    Args:
        sessions: of any role.
        attachment: the id of the photo.
        sources: those that the caller may read; by default all.

    Returns:
        `{attachment_id, id, group, status, error_code, message_id, source, verdict}`; `verdict` is None while the photo
        is pending, and for a photo that is not assessable.

    Raises:
        NotFoundError: no photo of these sources has this id.
    """
    with sessions() as session:
        rows = message_states.load_verdict(session, attachment, sources=sources)
    if rows is None:
        raise NotFoundError("no photo has this id: use the `id` that the answer to the submission gave it")
    return {
        **_attachment(rows.attachment),
        "message_id": rows.message.external_id,
        "source": rows.message.source,
        "verdict": verdict_json(rows.verdict, rows.model) if rows.verdict and rows.model else None,
    }


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "attachment_id": attachment.external_id,
        "id": str(attachment.id),
        "group": attachment.photo_group,
        "status": attachment.status,
        "error_code": attachment.error_code,
    }
