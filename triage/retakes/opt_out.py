"""Opting out of retake requests: of a message when it is submitted, or of a whole thread at any time."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId, RetakeRequestId
from triage.domain.incoming import check_sender_id
from triage.domain.text import check_word
from triage.errors import ChangedError
from triage.retakes.decide import decide_messages
from triage.retakes.policy import RetakePolicy
from triage.storage import audit, messages, opt_outs, outbox
from triage.storage.database import Sessions
from triage.storage.message_states import load_known
from triage.storage.messages import Key
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class ThreadOptOut:
    """Whether a thread is opted out now.

    Attributes:
        thread: the sender's id of the thread.
        changed: whether this call changed it.
        requests_withdrawn: the retake requests that this call withdrew.
    """

    source: str
    thread: str
    opted_out: bool
    changed: bool
    requests_withdrawn: Sequence[RetakeRequestId] = ()


@use_case
def opt_out(sessions: Sessions, *, source: str, thread: str, by: str, policy: RetakePolicy) -> ThreadOptOut:
    """Stops retake requests for a thread: its open requests are withdrawn, and none is ever flagged again. Idempotent.

    It holds for messages that come later, also if the thread is not known yet, was archived or is forgotten: what is
    stored is a hash of the source and the id of the thread.

    Args:
        sessions: of the worker role.
        source: the sending system.
        thread: the sender's id of the thread; of a message without a thread, the id of the message.
        by: id of the sender, or of the person who opts out for the patient.
        policy: decides the messages again whose requests are withdrawn.

    Raises:
        UsageError: an argument is malformed.
    """
    key = _checked(source, thread, by)
    with sessions.begin() as session:
        thread_id = messages.add_threads(session, [key])[key]  # locks it, also against messages that arrive now
        record = opt_outs.add(session, key)
        opted_out = messages.opt_out_thread(session, thread_id)
        withdrawn = stop_requests(session, opted_out, policy, by=by)
        messages.remove_if_empty(session, thread_id)  # the hash alone is kept
        if record is not None:
            audit.record(session, actor=by, action="thread.opted_out", subject_kind="opt_out", subject_id=record)
    return ThreadOptOut(source, thread, opted_out=True, changed=record is not None, requests_withdrawn=withdrawn)


@use_case
def undo_opt_out(sessions: Sessions, *, source: str, thread: str, by: str) -> ThreadOptOut:
    """Allows retake requests for messages of a thread that arrive from now on. Idempotent.

    Messages that have opted out stay so.

    Args:
        sessions: of the worker role.
        source: the sending system.
        thread: the sender's id of the thread.
        by: id of the person who takes the opt-out back for the patient.

    Raises:
        UsageError: an argument is malformed.
    """
    key = _checked(source, thread, by)
    with sessions.begin() as session:
        record = opt_outs.remove(session, key)
        if record is not None:
            audit.record(session, actor=by, action="thread.opted_in", subject_kind="opt_out", subject_id=record)
    return ThreadOptOut(source, thread, opted_out=False, changed=record is not None)


@use_case
def withdraw_message(
    sessions: Sessions, *, source: str, message: str, by: str, policy: RetakePolicy, version: int | None = None
) -> bool:
    """Stops retake requests for a message that was taken back where it came from. Idempotent.

    The message and its photos stay: a person may have read them.

    Args:
        sessions: of the worker role.
        source: the sending system.
        message: the sender's id of the message.
        by: id of the system that says so.
        policy: decides the message again if its request is withdrawn.
        version: that the message must have (`KnownMessage.version`), 0 if it must be unknown; None for any.

    Returns:
        Whether the message is known.

    Raises:
        UsageError: an argument is malformed.
        ChangedError: the message has another version. Nothing was changed.
    """
    check_actor(by)
    key = (check_word(source, "source"), check_sender_id(message, "message id"))
    with sessions.begin() as session:
        message_id = messages.id_of(session, key)
        if message_id is None:
            _check_version(version, actual=0)
            return False
        messages.lock_with_thread(session, message_id)
        if version is not None:
            _check_version(version, actual=load_known(session, source, [message])[message].version)
        stop_requests(session, messages.opt_out(session, {message_id}), policy, by=by)
    return True


def _check_version(expected: int | None, *, actual: int) -> None:
    if expected not in {None, actual}:
        raise ChangedError("the message was changed by another sender: read it again, then retry")


def stop_requests(
    session: Session, opted_out: Collection[MessageId], policy: RetakePolicy, *, by: str
) -> list[RetakeRequestId]:
    """Withdraws the requests of messages that opted out, even if a sender holds them, and decides them again.

    The caller holds the locks of their threads.
    """
    withdrawn = outbox.withdraw(session, opted_out, reason="opted_out")
    sent = outbox.active_among(session, opted_out)
    decide_messages(session, set(opted_out) - sent, policy)
    for message_id in sorted(opted_out):
        audit.record(session, actor=by, action="message.opted_out", subject_kind="message", subject_id=message_id)
    for request_id in withdrawn:
        audit.record(session, actor=by, action="retake.withdrawn", subject_kind="retake", subject_id=request_id)
    return withdrawn


def _checked(source: str, thread: str, by: str) -> Key:
    check_actor(by)
    return check_word(source, "source"), check_sender_id(thread, "thread id")
