"""A person's decision. It outranks every model, now and later."""

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import DecisionId, MessageId, ThreadId, new_id
from triage.domain.states import DecidedBy, Outcome, Reason
from triage.errors import UsageError
from triage.retakes.policy import RetakePolicy
from triage.storage import audit, decisions, messages, outbox
from triage.storage.decisions import NewDecision


def override(
    session: Session, message_id: MessageId, outcome: Outcome, *, by: str, reason: str, policy: RetakePolicy
) -> NewDecision:
    """Decides a message as a person says, and flags or withdraws its retake request to match.

    Args:
        outcome: `pass` or `retake`. A retake is bound by the patient's opt-out and by the thread's limit of requests;
            the cooldown is for models and does not bind a person.
        by: who decides; an opaque staff id.
        reason: why, in words, kept with the decision and nowhere else.

    Raises:
        UsageError: the outcome is another one, `by` is no such id, `reason` is empty, or a retake may
            not be asked for.
    """
    if outcome not in {Outcome.PASS, Outcome.RETAKE}:
        raise UsageError("a person decides `pass` or `retake`")
    if not reason.strip():
        raise UsageError("an override needs why (--reason)")
    check_actor(by)
    message = messages.lock_with_thread(session, message_id)
    active = bool(outbox.active_among(session, [message_id]))
    if outcome is Outcome.RETAKE and not active:
        _check_allowed(session, ThreadId(message.thread_id), policy, opted_out=message.opted_out)
    decision = NewDecision(
        id=DecisionId(new_id()),
        message_id=message_id,
        supersedes_id=DecisionId(message.current_decision_id) if message.current_decision_id else None,
        outcome=outcome,
        reason=Reason.OVERRIDE,
        decided_by=DecidedBy.PERSON,
        actor=by,
        note=reason,
    )
    decisions.append_decisions(session, [decision])
    if outcome is Outcome.PASS:
        outbox.withdraw(session, [message_id], reason="override")
    elif not active:
        outbox.flag(session, [(message_id, ThreadId(message.thread_id), decision.id)])
    audit.record(
        session,
        actor=by,
        action="message.overridden",
        subject_kind="message",
        subject_id=message_id,
        outcome=outcome.value,
        decision=str(decision.id),
    )
    return decision


def _check_allowed(session: Session, thread_id: ThreadId, policy: RetakePolicy, *, opted_out: bool) -> None:
    if opted_out:
        raise UsageError("the patient has opted out of retake requests: contact them another way")
    requests = decisions.load_threads(session, [thread_id]).requests[thread_id]
    if len(requests) >= policy.max_requests_per_thread:
        raise UsageError(
            f"this thread has had its {policy.max_requests_per_thread} retake requests: contact the patient another way"
        )
