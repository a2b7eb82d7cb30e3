"""Forgetting a message on request."""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId
from triage.errors import UsageError
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import messages, outbox
from triage.storage import retention as rows

_CODE: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was forgotten of a message.

    Attributes:
        photos: attachments.
        blobs: hashes of the bytes that nobody needs any more; `Retention.remove` removes them.
        shared: photos whose bytes stay, since another message brought the same.
        withdrawn: retake requests.
    """

    photos: int
    blobs: list[str]
    shared: int
    withdrawn: int


def check_reason(reason: str) -> str:
    """
    Raises:
        UsageError: this is no code or number. It stays in the audit trail for good, so it must not be a text.
    """
    if not _CODE.fullmatch(reason):
        raise UsageError("--reason stays for good: give a code or a request's number, at most 64 letters and digits")
    return reason


def forget(session: Session, message_id: MessageId, *, by: str, reason: str, policy: RetakePolicy) -> Forgotten:
    """Forgets a message: ids of its sender, texts, URIs and hashes; photos not scored yet never will be.

    What its models and staff decided stays, without a word of text, and so do the counts of reports. An unsent retake
    request is withdrawn, even from a sender who holds it. Only the same ids sent again would make a new message.

    Args:
        by: who asks; an opaque staff id.
        reason: a code or the number of a request.

    Raises:
        UsageError: `by` or `reason` is not such, or the message is forgotten already.
    """
    check_actor(by)
    check_reason(reason)
    message = messages.lock_with_thread(session, message_id)
    if message.forgotten_at is not None:
        raise UsageError("this message is forgotten already")
    undecided = message.current_decision_id is None
    hashes = rows.lock_blobs_of(session, message_id)
    withdrawn = outbox.withdraw(session, [message_id], reason="forgotten", held_too=True)
    rows.forget_message(session, message_id, actor=by, reason=reason)
    marked = rows.mark_unreferenced(session, hashes)
    if undecided:
        decide_messages(session, [message_id], policy)
    photos = len(messages.list_attachments(session, [message_id]))
    return Forgotten(photos, marked, len(hashes) - len(marked), len(withdrawn))
