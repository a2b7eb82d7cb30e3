"""Photos without a result, of one message or of all, and what a message is decided as when none is left."""

from triage.domain.ids import MessageId
from triage.domain.states import Outcome
from triage.storage import decisions, inbox, messages
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def find_message(sessions: Sessions, message: str, source: str | None = None) -> MessageId:
    """Returns the id of a message.

    Args:
        sessions: of any role.
        message: the sender's id of the message, or its own id.
        source: the sender, required if several senders use the same id.

    Raises:
        UsageError: the message is unknown or ambiguous.
    """
    with sessions() as session:
        return MessageId(messages.find_message(session, message, source).id)


@use_case
def count_open_photos(sessions: Sessions, message: MessageId | None = None) -> int:
    """Returns the number of photos that are pending or in progress."""
    with sessions() as session:
        return inbox.count_open(session, message)


@use_case
def outcome_of(sessions: Sessions, message: MessageId) -> Outcome | None:
    """Returns the outcome of a message, or None if it is not decided."""
    with sessions() as session:
        return decisions.current_outcome(session, message)
