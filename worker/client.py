"""The Python way in: `enqueue_message(...)`, for message systems that run in the same environment."""

from collections.abc import Sequence
from functools import cache

from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.storage.database import database_errors
from worker.services import Services
from worker.settings import load_settings


def enqueue_message(
    *,
    source: str,
    message_id: str,
    attachments: Sequence[IncomingAttachment],
    thread: str | None = None,
    role: str = "patient",
    locale: str = "en",
    opted_out: bool = False,
) -> Acceptance:
    """Accepts a message and its photos. When this returns, they are committed; sending them again changes nothing.

    Args:
        source: which system sends, such as `mychart`.
        message_id: its id of the message; opaque, like every id here.
        attachments: bytes or allowed URIs, with the sender's own attachment ids and groups where it has them.
        thread: its id of the conversation; by default each message is its own. Requests are counted by thread.
        role: who wrote it, such as `patient` or `pcp`.
        locale: language of the reply, such as `en` or `es-MX`.
        opted_out: never ask this sender for a retake.

    Returns:
        The ids of the message and its attachments, and whether anything was new.

    Raises:
        UsageError: an id is malformed, or there are no photos or too many.
        ServiceUnavailableError: Postgres or the blob store does not answer. Nothing was accepted; try again.
    """
    message = IncomingMessage(source, message_id, attachments, thread, role, locale, opted_out)
    with database_errors():
        [acceptance] = _services().intake.enqueue([message])
    return acceptance


@cache
def _services() -> Services:
    """Opened by the first call and kept for the caller's process, which calls for each message."""
    return Services(load_settings())
