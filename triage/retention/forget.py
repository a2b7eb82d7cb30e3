"""Forgetting a message on request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId
from triage.errors import UsageError
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.retention.purge import Retention
from triage.storage import attachments, deliveries, messages, outbox, queue
from triage.storage import retention as retention_rows
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_REASON: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of forgetting a message.

    Attributes:
        message_id: the product's id of the message.
        photos: number of its attachments.
        photos_removed: photos whose bytes were deleted.
        photos_shared: photos whose bytes were kept, because another message has the same photo.
        requests_withdrawn: number of retake requests withdrawn.
    """

    message_id: MessageId
    photos: int
    photos_removed: int
    photos_shared: int
    requests_withdrawn: int


def check_reason(reason: str) -> str:
    """Checks the reason for forgetting, which is stored in the audit trail permanently and so must not be free text.

    Returns:
        The reason, unchanged.

    Raises:
        UsageError: the reason is not a short code.
    """
    if not isinstance(reason, str) or not _REASON.fullmatch(reason):
        raise UsageError(
            "invalid reason: use a code or request number of 1 to 64 letters, digits or `_.:/-` (stored permanently)"
        )
    return reason


@use_case
def forget(
    sessions: Sessions,
    retention: Retention,
    message: str,
    source: str | None = None,
    *,
    by: str,
    reason: str,
    policy: RetakePolicy,
) -> Forgotten:
    """Forgets a message: deletes its sender's ids, its texts, URIs, hashes and photos.

    Verdicts, decisions without their notes, and the counts of reports are kept. Photos that are not scored yet become
    `not_assessable`. A flagged or claimed retake request is withdrawn. Resubmitting the same ids
    creates a new message.

    The rows change in one transaction with an audit event; the bytes are deleted after it. If that is interrupted, the
    next purge deletes them.

    Args:
        sessions: of the worker role.
        retention: deletes the bytes of photos that no other message has.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.
        by: opaque id of the person who forgets.
        reason: code, or number of the request.
        policy: decides messages that had no decision yet.

    Raises:
        UsageError: the message is unknown, ambiguous or already forgotten, or `by` or `reason` is malformed.
        BlobStoreUnavailableError: the message is forgotten, but the store did not delete the bytes; the next purge
            will.
    """
    check_actor(by)
    check_reason(reason)
    with sessions.begin() as session:
        message_id = MessageId(messages.find_message(session, message, source).id)
        hashes, marked, withdrawn = _forget_rows(session, message_id, by=by, reason=reason, policy=policy)
        photos = len(attachments.list_attachments(session, [message_id]))
    removed = retention.remove(actor=by, among=marked).photos if marked else 0
    return Forgotten(message_id, photos, removed, len(hashes) - len(marked), withdrawn)


def _forget_rows(
    session: Session, message_id: MessageId, *, by: str, reason: str, policy: RetakePolicy
) -> tuple[Sequence[str], Sequence[str], int]:
    """Returns the hashes of the photos, those that no attachment has any more, and the number of withdrawn requests."""
    message = messages.lock_with_thread(session, message_id)
    if message.forgotten_at is not None:
        raise UsageError("the message is already forgotten")
    undecided = message.current_decision_id is None
    hashes = retention_rows.lock_blobs_of(session, message_id)
    withdrawn = outbox.withdraw(session, [message_id], reason="forgotten")
    retention_rows.forget_message(session, message_id, actor=by, reason=reason)
    marked = retention_rows.mark_unreferenced(session, hashes)
    if undecided:
        decide_messages(session, [message_id], policy)
    deliveries.forget(session, message_id)
    queue.take_out(session, [message_id])
    return hashes, marked, len(withdrawn)
