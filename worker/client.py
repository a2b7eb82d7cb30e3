"""The Python interface for senders in the same environment: `enqueue_message(...)`."""

from collections.abc import Sequence
from functools import cache

from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
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
    """Accepts a message and its photos; they are committed when this returns. Idempotent by source and message id.

    Args:
        source: the sending system, such as `mychart`.
        message_id: the sender's id of the message. All ids are opaque and must not identify a patient.
        attachments: bytes or allowed URIs, optionally with the sender's attachment ids and groups.
        thread: the sender's id of the conversation; by default each message has its own thread. The limits of retake
            requests apply per thread.
        role: author of the message, such as `patient` or `pcp`.
        locale: language of replies, such as `en` or `es-MX`.
        opted_out: never request a retake from this author. A resubmission can set it, which withdraws an open request.

    Returns:
        The ids of the message and its attachments, whether any was new, and what differs from an earlier submission,
        which is kept.

    Raises:
        UsageError: an id is invalid, two different photos have one id, or the number of photos is 0 or exceeds the
            limit.
        ServiceUnavailableError: Postgres or the blob store is unavailable. Nothing was accepted: retry.
    """
    message = IncomingMessage(source, message_id, attachments, thread, role, locale, opted_out)
    [acceptance] = _services().intake.enqueue([message])
    return acceptance


@cache
def _services() -> Services:
    """The services of the calling process, made by its first message and kept for the next."""
    return Services(load_settings())
