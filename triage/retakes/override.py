"""Overrides: decisions by a person, which no model changes later."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from triage.domain.actors import check_actor
from triage.domain.ids import DecisionId, MessageId, ThreadId, new_id
from triage.domain.states import DecidedBy, FindingKind, Outcome, Reason
from triage.domain.text import check_note
from triage.errors import UsageError
from triage.retakes.compose import compose_request
from triage.retakes.policy import RetakePolicy
from triage.storage import audit, decisions, messages, outbox
from triage.storage.database import Sessions
from triage.storage.decisions import NewDecision
from triage.storage.outbox import NewRequest
from triage.storage.tables import Message
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision on a message.

    Attributes:
        message_id: the sender's id of the message.
    """

    id: DecisionId
    message_id: str
    source: str
    outcome: Outcome
    actor: str


@use_case
def override(
    sessions: Sessions,
    message: str,
    outcome: Outcome,
    *,
    source: str | None = None,
    by: str,
    reason: str,
    policy: RetakePolicy,
) -> Override:
    """Decides a message for a person, and flags or withdraws its retake request accordingly.

    Args:
        sessions: of the worker role.
        message: the sender's id of the message, or its own id.
        outcome: `pass` or `retake`. The patient's opt-out and the limit of requests per thread also bind a person; the
            cooldown does not.
        source: the sender, required if several senders use the same id.
        by: actor id of the person who decides.
        reason: free text, stored with the decision and nowhere else.
        policy: holds the limit of requests per thread, and the texts of replies.

    Raises:
        UsageError: the message is unknown, ambiguous or forgotten, the outcome is neither `pass` nor `retake`, `by` is
            malformed, `reason` is blank, longer than 2,000 characters or has control characters, or no retake may be
            requested.
    """
    if outcome not in {Outcome.PASS, Outcome.RETAKE}:
        raise UsageError("invalid override: decide `pass` or `retake`")
    reason = check_note(reason, "reason")
    check_actor(by)
    with sessions.begin() as session:
        found = messages.find_message(session, message, source)
        decision = decide_for_person(session, MessageId(found.id), outcome, by=by, note=reason, policy=policy)
        return Override(decision.id, found.external_id, found.source, outcome, by)


def decide_for_person(
    session: Session,
    message_id: MessageId,
    outcome: Outcome,
    *,
    by: str,
    note: str,
    policy: RetakePolicy,
    reason: Reason = Reason.OVERRIDE,
    named: FindingKind | None = None,
) -> NewDecision:
    """Appends a person's decision with its audit event, and flags or withdraws the retake request accordingly.

    Args:
        session: of the caller's transaction.
        message_id: the message.
        outcome: the decision.
        by: actor id of the person who decides.
        note: free text, stored with the decision and nowhere else.
        policy: holds the limit of requests per thread, and the texts of replies.
        reason: of the outcome.
        named: what the reply of a new request names, instead of what was measured.

    Raises:
        UsageError: the message is unknown or forgotten, or no retake may be requested.
    """
    message = messages.lock_with_thread(session, message_id)
    if message.forgotten_at is not None:
        raise UsageError("the message is forgotten: it can no longer be decided")
    decision_id = DecisionId(new_id())
    request = (
        request_of(session, message, decision_id, policy=policy, named=named) if outcome is Outcome.RETAKE else None
    )
    decision = NewDecision(
        id=decision_id,
        message_id=message_id,
        supersedes_id=DecisionId(message.current_decision_id) if message.current_decision_id else None,
        outcome=outcome,
        reason=reason,
        decided_by=DecidedBy.PERSON,
        actor=by,
        note=note,
    )
    decisions.append_decisions(session, [decision])
    if outcome is not Outcome.RETAKE:
        outbox.withdraw(session, [message_id], reason="override")
    elif request is not None:
        outbox.flag(session, [request])
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


def request_of(
    session: Session,
    message: Message,
    decision_id: DecisionId,
    *,
    policy: RetakePolicy,
    named: FindingKind | None = None,
) -> NewRequest | None:
    """The request that a person's decision flags; None if the message has one already, whose text stays.

    Raises:
        UsageError: no retake may be requested.
    """
    message_id, thread_id = MessageId(message.id), ThreadId(message.thread_id)
    if outbox.active_among(session, [message_id]):
        return None
    _check_allowed(session, thread_id, policy, opted_out=message.opted_out)
    assessed = decisions.load_assessed(session, [message_id])  # none while a photo is pending
    photos = [photo for each in assessed for photo in each.photos]
    return compose_request(
        message_id, thread_id, decision_id, photos=photos, locale=message.locale, policy=policy, named=named
    )


def _check_allowed(session: Session, thread_id: ThreadId, policy: RetakePolicy, *, opted_out: bool) -> None:
    if opted_out:
        raise UsageError("the patient has opted out of retake requests: contact them another way")
    requests = decisions.load_threads(session, [thread_id]).requests[thread_id]
    if len(requests) >= policy.max_requests_per_thread:
        raise UsageError(
            f"this thread has reached the limit of {policy.max_requests_per_thread} retake requests: "
            "contact the patient another way"
        )
