"""The Python interface for senders in the same environment: messages, retake requests, opt-outs, decisions."""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from triage.domain.ids import RetakeRequestId
from triage.domain.messages import Acceptance, HeldRequest, IncomingAttachment, IncomingMessage, RetakeRequest
from triage.domain.states import Acknowledged, Fitzpatrick
from triage.domain.text import UNDETERMINED
from worker.services import Services
from worker.settings import load_settings

if TYPE_CHECKING:  # not imported at run time: SQLAlchemy
    from triage.retakes.feed import DecisionPage
    from triage.retakes.opt_out import ThreadOptOut


def enqueue_message(
    *,
    source: str,
    message_id: str,
    attachments: Sequence[IncomingAttachment],
    thread: str | None = None,
    role: str = "patient",
    locale: str = UNDETERMINED,
    opted_out: bool = False,
    fitzpatrick: Fitzpatrick | None = None,
) -> Acceptance:
    """Accepts a message and its photos; they are committed when this returns. Idempotent by source and message id.

    Args:
        source: the sending system, such as `mychart`.
        message_id: the sender's id of the message. All ids are opaque and must not identify a patient.
        attachments: bytes or allowed URIs, optionally with the sender's attachment ids and groups.
        thread: the sender's id of the conversation; by default each message has its own thread. The limits of retake
            requests apply per thread.
        role: author of the message, such as `patient` or `pcp`.
        locale: language of replies (BCP 47), such as `en` or `es-MX`; by default that of the settings.
        opted_out: never request a retake from this author. A resubmission can set it, which withdraws an open request.
        fitzpatrick: the patient's skin type, if known, so that reports can compare skin tones.

    Returns:
        The ids of the message and its attachments, whether any was new, and what differs from an earlier submission,
        which is kept.

    Raises:
        UsageError: an id is invalid, two different photos have one id, or the number of photos is 0 or exceeds the
            limit.
        ServiceUnavailableError: Postgres or the blob store is unavailable: retry. The message was not accepted or, if
            the connection was lost during the commit, may have been.
    """
    message = IncomingMessage(source, message_id, attachments, thread, role, locale, opted_out, fitzpatrick=fitzpatrick)
    [acceptance] = _services().intake.enqueue([message])
    return acceptance


def claim_requests(
    *, by: str, limit: int = 10, lease: timedelta = timedelta(minutes=5), source: str | None = None
) -> list[RetakeRequest]:
    """Claims flagged retake requests, oldest first, each with a token. See `triage.retakes.requests.claim`."""
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    return requests.claim(
        _services().sessions, limit=limit, lease=lease, by=by, sources=None if source is None else [source]
    )


def acknowledge_requests(held: Sequence[HeldRequest], *, by: str) -> list[Acknowledged]:
    """Records that claimed requests were sent. See `triage.retakes.requests.acknowledge_all`."""
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    return requests.acknowledge_all(_services().sessions, held, by=by)


def withdraw_request(request_id: RetakeRequestId, *, by: str) -> RetakeRequest:
    """Withdraws a request that is flagged or claimed. See `triage.retakes.requests.withdraw`."""
    from triage.retakes import requests  # deferred: imports SQLAlchemy

    return requests.withdraw(_services().sessions, request_id, by=by)


def opt_out_thread(*, source: str, thread: str, by: str) -> "ThreadOptOut":
    """Stops retake requests for a thread. See `triage.retakes.opt_out.opt_out`."""
    from triage.retakes.opt_out import opt_out  # deferred: imports SQLAlchemy

    services = _services()
    return opt_out(services.sessions, source=source, thread=thread, by=by, policy=services.settings.retake_policy)


def list_decisions(*, after: str | None = None, limit: int = 100) -> "DecisionPage":
    """Returns the decisions that follow a cursor, each exactly once. See `triage.retakes.feed.list_decisions`."""
    from triage.retakes import feed  # deferred: imports SQLAlchemy

    return feed.list_decisions(_services().sessions, after=after, limit=limit)


@cache
def _services() -> Services:
    """The services of the calling process, made by its first message and kept for the next."""
    return Services(load_settings())
