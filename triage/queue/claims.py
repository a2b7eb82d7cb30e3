"""Listing the queue and claiming messages, so that two people do not decide the same one.

A claim ends by itself, so that a message is not lost with a person who leaves.
"""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from triage.domain.actors import check_actor
from triage.domain.ids import MessageId, ModelVersionId
from triage.domain.queue import COUNTED, Place, WaitingPage
from triage.domain.staff import Right, check_staff_name
from triage.domain.states import Reason, WaitingState
from triage.domain.text import check_word
from triage.errors import LeaseLostError, UsageError
from triage.storage import audit, messages, queue, staff
from triage.storage.database import Sessions
from triage.storage.queue import Selection
from triage.storage.use_case import use_case

_LONGEST_LEASE = timedelta(days=1)
_MAX_AGE = timedelta(days=36_500)


@use_case
def list_waiting(
    sessions: Sessions,
    *,
    source: str | None = None,
    state: WaitingState | None = None,
    reason: Reason | None = None,
    model: ModelVersionId | None = None,
    older_than: timedelta | None = None,
    assigned_to: str | None = None,
    after: Place | None = None,
    limit: int = 50,
) -> WaitingPage:
    """Returns a page of the messages that wait for a person, oldest first.

    Args:
        sessions: of any role.
        source: only messages of this sender.
        state: only messages that wait because of this.
        reason: only messages with this reason.
        model: only messages that this model decided.
        older_than: only messages that wait for longer.
        assigned_to: only messages that were sent to this person, by the actor id.
        after: the place after which the page begins.
        limit: 1 to 200 messages.

    Raises:
        UsageError: an argument is malformed.
    """
    if not 1 <= limit <= 200:
        raise UsageError("invalid limit: use 1 to 200 messages")
    selection = _selection(source, state, reason, model, older_than, assigned_to)
    with sessions() as session:
        found = queue.list_waiting(session, selection, after=after, limit=limit + 1)
        total = queue.count(session, selection)
    page = found[:limit]
    return WaitingPage(page, page[-1].place if len(found) > limit else None, min(total, COUNTED))


@use_case
def list_sources(sessions: Sessions) -> Sequence[str]:
    """Returns the senders of all messages that wait."""
    with sessions() as session:
        return queue.sources(session)


@use_case
def list_models(sessions: Sessions) -> Sequence[tuple[ModelVersionId, str]]:
    """Returns the models of all messages that wait, each with its name, the newest first."""
    with sessions() as session:
        return queue.models(session)


@use_case
def claim(sessions: Sessions, message_id: MessageId, *, by: str, lease: timedelta) -> None:
    """Claims a message, or extends the own claim.

    Raises:
        LeaseLostError: another person holds it.
        UsageError: it does not wait, or an argument is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        if not queue.claim(session, message_id, by=by, lease=_checked(lease)):
            if queue.find(session, message_id) is None:
                raise UsageError("the message does not wait for a person: it was decided")
            raise LeaseLostError("another person holds the message: take another one")
        audit.record(session, actor=by, action="message.claimed", subject_kind="message", subject_id=message_id)


@use_case
def claim_oldest(
    sessions: Sessions,
    *,
    by: str,
    lease: timedelta,
    source: str | None = None,
    state: WaitingState | None = None,
    reason: Reason | None = None,
    model: ModelVersionId | None = None,
    older_than: timedelta | None = None,
    assigned_to: str | None = None,
    form: UUID | None = None,
) -> MessageId | None:
    """Claims the oldest message that no one holds and that was sent to no one else; None if there is none.

    Args:
        sessions: of the worker role.
        by: actor id of the person.
        lease: how long the claim lasts.
        source, state, reason, model, older_than, assigned_to: as `list_waiting`.
        form: the id of the form that a person has sent. The same form again returns the message that it claimed, while
            the person holds it, because a person may click twice.

    Raises:
        UsageError: an argument is malformed.
    """
    check_actor(by)
    selection = _selection(source, state, reason, model, older_than, assigned_to)
    with sessions.begin() as session:
        if form is not None and (held := queue.claimed_by_form(session, form, by=by)) is not None:
            return held
        message_id = queue.claim_oldest(session, selection, by=by, lease=_checked(lease), form=form)
        if message_id is not None:
            audit.record(session, actor=by, action="message.claimed", subject_kind="message", subject_id=message_id)
    return message_id


@use_case
def release(sessions: Sessions, message_id: MessageId, *, by: str, of_others: bool = False) -> None:
    """Ends a claim. Idempotent.

    Args:
        sessions: of the worker role.
        message_id: the message.
        by: actor id of the person.
        of_others: also ends the claim of another person.

    Raises:
        UsageError: an argument is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        if queue.release(session, message_id, by=None if of_others else by):
            audit.record(session, actor=by, action="message.released", subject_kind="message", subject_id=message_id)


@use_case
def assign(sessions: Sessions, message_id: MessageId, to: str, *, by: str, of_others: bool = False) -> None:
    """Sends a message to a colleague: it is in this person's part of the queue, and no one holds it.

    Args:
        sessions: of the worker role.
        message_id: the message.
        to: the name of an account that may decide.
        by: actor id of the person who sends it.
        of_others: also sends a message that another person holds.

    Raises:
        LeaseLostError: another person holds it.
        UsageError: it does not wait, no such account may decide, or an argument is malformed.
    """
    check_actor(by)
    with sessions.begin() as session:
        colleague = staff.find(session, check_staff_name(to))
        if colleague is None or colleague.disabled_at is not None or not colleague.may(Right.DECIDE):
            raise UsageError("no account of this name may decide: choose a colleague of the list")
        messages.lock_with_thread(session, message_id)
        waiting = queue.find(session, message_id)
        if waiting is None:
            raise UsageError("the message does not wait for a person: it was decided")
        if waiting.claimed_by not in {None, by} and not of_others:
            raise LeaseLostError("another person holds the message: take another one")
        queue.assign(session, message_id, to=colleague.actor)
        audit.record(
            session,
            actor=by,
            action="message.assigned",
            subject_kind="message",
            subject_id=message_id,
            to=colleague.actor,
        )


def _selection(
    source: str | None,
    state: WaitingState | None,
    reason: Reason | None,
    model: ModelVersionId | None,
    older_than: timedelta | None,
    assigned_to: str | None,
) -> Selection:
    if assigned_to is not None:
        check_actor(assigned_to)
    if source is not None:
        check_word(source, "source")
    if older_than is not None and not timedelta(0) <= older_than <= _MAX_AGE:
        raise UsageError("invalid age: use a time up to a hundred years")
    return Selection(source, state, reason, model, older_than, assigned_to)


def _checked(lease: timedelta) -> timedelta:
    if not timedelta(0) < lease <= _LONGEST_LEASE:
        raise UsageError("invalid lease: use up to a day")
    return lease
