"""Deciding a message of the queue, and undoing that decision by a new one that restores the previous one."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import DecisionId, MessageId, new_id
from triage.domain.queue import GROUNDS, NAMED_KINDS, UNDONE, Ground, ground_of, note_of
from triage.domain.replies import Reply
from triage.domain.states import DecidedBy, FindingKind, Outcome, Reason
from triage.domain.text import check_note
from triage.errors import LeaseLostError, UsageError
from triage.retakes.override import decide_for_person, request_of
from triage.retakes.policy import RetakePolicy
from triage.storage import decisions, messages, queue
from triage.storage.database import Sessions
from triage.storage.tables import Message
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class Made:
    """A decision that was made, and the sender's id of its message."""

    id: DecisionId
    outcome: Outcome
    message: str


@use_case
def decide(
    sessions: Sessions,
    message_id: MessageId,
    outcome: Outcome,
    *,
    seen: DecisionId,
    ground: Ground,
    note: str = "",
    by: str,
    policy: RetakePolicy,
    of_others: bool = False,
) -> Made:
    """Decides a message for a person, as `override` does. The reply of a new request names the person's ground.

    The same call again has no effect, because a person may click twice.

    Args:
        sessions: of the worker role.
        message_id: the message.
        outcome: `pass` or `retake`.
        seen: the current decision when the person looked at the message.
        ground: why; it must be one of the outcome's.
        note: further words, stored with the decision and nowhere else.
        by: actor id of the person.
        policy: holds the limit of requests per thread, and the texts of replies.
        of_others: also replaces the decision of another person.

    Raises:
        LeaseLostError: the message waits and the person does not hold it, or it was decided since the person looked.
        UsageError: as `override`, the ground does not belong to the outcome, another person made the current decision,
            or the person made the same one.
    """
    check_actor(by)
    if ground not in GROUNDS.get(outcome, ()):
        raise UsageError("invalid decision: choose `pass` or `retake`, and one of its reasons")
    note = check_note(note_of(ground, note), "note")
    with sessions.begin() as session:
        message = messages.lock_with_thread(session, message_id)
        before = _made_already(session, message, seen, by, note)
        if before is not None and before.outcome == outcome:
            return before
        _check_unchanged(session, message, seen, by)
        _check_turn(session, message_id, outcome, by, of_others=of_others)
        named = NAMED_KINDS.get(ground)
        made = decide_for_person(session, message_id, outcome, by=by, note=note, policy=policy, named=named)
    return Made(made.id, outcome, message.external_id)


@use_case
def preview_reply(
    sessions: Sessions,
    message_id: MessageId,
    *,
    seen: DecisionId,
    ground: Ground,
    by: str,
    policy: RetakePolicy,
    of_others: bool = False,
) -> Reply | None:
    """Returns what the patient would get if the person decided `retake` now. It changes nothing.

    Args:
        sessions: of the worker role.
        message_id, seen, ground, by, policy, of_others: as `decide`.

    Returns:
        The reply of the new request; None if the message has a request already, whose text stays.

    Raises:
        LeaseLostError, UsageError: as `decide`.
    """
    check_actor(by)
    if ground not in GROUNDS[Outcome.RETAKE]:
        raise UsageError("invalid decision: choose one of the reasons for new photos")
    with sessions.begin() as session:
        message = messages.lock_with_thread(session, message_id)
        _check_unchanged(session, message, seen, by)
        _check_turn(session, message_id, Outcome.RETAKE, by, of_others=of_others)
        named = NAMED_KINDS.get(ground)
        request = request_of(session, message, DecisionId(new_id()), policy=policy, named=named)
    return None if request is None else request.reply


@use_case
def undo(
    sessions: Sessions,
    message_id: MessageId,
    *,
    seen: DecisionId,
    by: str,
    policy: RetakePolicy,
    of_others: bool = False,
) -> Made:
    """Restores the decision before a person's, as a new decision. A request that it withdrew is flagged again.

    The same call again has no effect.

    Args:
        sessions: of the worker role.
        message_id: the message.
        seen: the decision to undo, which must be the current one.
        by: actor id of the person.
        policy: holds the limit of requests per thread, and the texts of replies.
        of_others: also undoes the decision of another person.

    Raises:
        LeaseLostError: another person holds the message, or it was decided since the person looked.
        UsageError: a model or another person made the decision, there is none before it, or no retake may be requested.
    """
    check_actor(by)
    with sessions.begin() as session:
        message = messages.lock_with_thread(session, message_id)
        before = _made_already(session, message, seen, by, UNDONE)
        if before is not None:
            return before
        _check_unchanged(session, message, seen, by)
        current, previous = decisions.last_two(session, message_id)
        if current.decided_by != DecidedBy.PERSON or (current.actor != by and not of_others):
            raise UsageError("the decision cannot be undone: another person or a model made it")
        if previous is None:
            raise UsageError("the decision cannot be undone: there is none before it")
        made = decide_for_person(
            session,
            message_id,
            Outcome(previous.outcome),
            by=by,
            note=UNDONE,
            policy=policy,
            reason=Reason(previous.reason),
            named=_named_by(previous.note),
        )
    return Made(made.id, made.outcome, message.external_id)


def _named_by(note: str | None) -> FindingKind | None:
    ground, _ = ground_of(note)
    return None if ground is None else NAMED_KINDS.get(ground)


def _made_already(session: Session, message: Message, seen: DecisionId, by: str, note: str) -> Made | None:
    """The current decision, if this person made it with this note over the one that was seen."""
    if message.current_decision_id is None:
        return None
    current, _ = decisions.last_two(session, MessageId(message.id))
    if (current.supersedes_id, current.actor, current.note) != (seen, by, note):
        return None
    return Made(DecisionId(current.id), Outcome(current.outcome), message.external_id)


def _check_unchanged(session: Session, message: Message, seen: DecisionId, by: str) -> None:
    """Checks a message that is locked.

    Raises:
        LeaseLostError: another person holds the message, or it was decided since the person looked.
    """
    if message.current_decision_id != seen:
        raise LeaseLostError("the message was decided since you opened it: look at it again")
    waiting = queue.find(session, MessageId(message.id))
    if waiting is not None and waiting.claimed_by not in {None, by}:
        raise LeaseLostError("another person holds the message: take another one")


def _check_turn(session: Session, message_id: MessageId, outcome: Outcome, by: str, *, of_others: bool) -> None:
    """
    Raises:
        LeaseLostError: the message waits, and the person does not hold it.
        UsageError: another person decided it, or this person decided the same.
    """
    waiting = queue.find(session, message_id)
    if waiting is not None:
        if waiting.claimed_by != by:
            raise LeaseLostError("you do not hold the message: hold it, then decide")
        return
    current, _ = decisions.last_two(session, message_id)
    if current.decided_by != DecidedBy.PERSON:
        return
    if current.actor != by and not of_others:
        raise UsageError("another person decided the message: ask this person or a manager to undo it")
    if current.outcome == outcome:
        raise UsageError("the message has this decision already: undo it to decide for another reason")
