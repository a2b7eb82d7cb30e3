"""Deciding a message of the queue, and undoing that decision by a new one that restores the previous one."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import DecisionId, MessageId
from triage.domain.queue import GROUNDS, Ground
from triage.domain.states import DecidedBy, Outcome, Reason
from triage.domain.text import check_note
from triage.errors import LeaseLostError, UsageError
from triage.retakes.override import decide_for_person
from triage.retakes.policy import RetakePolicy
from triage.storage import decisions, messages, queue
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

_UNDONE = "undone: the previous decision holds again"


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
) -> Made:
    """Decides a message for a person, as `override` does.

    Args:
        sessions: of the worker role.
        message_id: the message.
        outcome: `pass` or `retake`.
        seen: the current decision when the person looked at the message.
        ground: why; it must be one of the outcome's.
        note: further words, stored with the decision and nowhere else.
        by: actor id of the person.
        policy: holds the limit of requests per thread, and the texts of replies.

    Raises:
        LeaseLostError: another person holds the message, or it was decided since the person looked.
        UsageError: as `override`, or the ground does not belong to the outcome.
    """
    check_actor(by)
    if ground not in GROUNDS.get(outcome, ()):
        raise UsageError("invalid decision: choose `pass` or `retake`, and one of its reasons")
    note = check_note(f"{ground.value}: {note}" if note.strip() else ground.value, "note")
    with sessions.begin() as session:
        name = _lock(session, message_id, seen, by)
        made = decide_for_person(session, message_id, outcome, by=by, note=note, policy=policy)
    return Made(made.id, outcome, name)


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
        name = _lock(session, message_id, seen, by)
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
            note=_UNDONE,
            policy=policy,
            reason=Reason(previous.reason),
        )
    return Made(made.id, made.outcome, name)


def _lock(session: Session, message_id: MessageId, seen: DecisionId, by: str) -> str:
    """Locks the thread of the message, so that its current decision stays the one that was seen.

    Raises:
        LeaseLostError: another person holds the message, or it was decided since the person looked.
    """
    message = messages.lock_with_thread(session, message_id)
    if message.current_decision_id != seen:
        raise LeaseLostError("the message was decided since you opened it: look at it again")
    waiting = queue.find(session, message_id)
    if waiting is not None and waiting.claimed_by not in {None, by}:
        raise LeaseLostError("another person holds the message: take another one")
    return message.external_id
