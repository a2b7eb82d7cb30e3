"""Deciding messages: appends decisions, flags and withdraws retake requests. Callers hold the locks of the threads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from triage.domain.ids import DecisionId, new_id
from triage.domain.states import DecidedBy, Outcome
from triage.retakes.compose import compose_request
from triage.retakes.policy import Decision, RetakePolicy, decide_by_quality, limit_requests
from triage.storage import decisions, outbox
from triage.storage.decisions import AssessedMessage, NewDecision


@dataclass(frozen=True, slots=True)
class Decided:
    """Numbers of decisions appended and retake requests flagged."""

    decisions: int = 0
    flagged: int = 0


def decide_messages(session: Session, message_ids: Collection[UUID], policy: RetakePolicy) -> Decided:
    """Decides those of the messages that have no attachment pending.

    A person's decision is never replaced. A decision equal to the current one is not appended.
    """
    if not message_ids:
        return Decided()
    messages = [
        message
        for message in decisions.load_assessed(session, message_ids)
        if message.current is None or message.current.decided_by is not DecidedBy.PERSON
    ]
    changed = [
        (message, _to_append(message, decision, DecidedBy.MODEL))
        for message, decision in _decide(session, messages, policy)
        if message.current is None
        or (message.current.outcome, message.current.reason) != (decision.outcome, decision.reason)
    ]
    if not changed:
        return Decided()
    decisions.append_decisions(session, [new for _, new in changed])
    replaced = [
        message.id for message, new in changed if message.current is not None and new.outcome is not Outcome.RETAKE
    ]
    outbox.withdraw(session, replaced, reason="decided_again")
    return Decided(len(changed), _flag(session, changed, policy))


def reconsider_open(
    session: Session, message_ids: Collection[UUID], policy: RetakePolicy, *, model_version_id: UUID
) -> int:
    """Withdraws the open requests of messages that pass by the verdicts of another model. It never flags a request.

    Returns:
        The number of requests withdrawn.
    """
    open_ = outbox.open_among(session, message_ids)
    if not open_:
        return 0
    passing = [
        (message, decision)
        for message in decisions.load_assessed(session, open_, by_model=model_version_id)
        if message.current is not None
        and message.current.decided_by is not DecidedBy.PERSON
        and (decision := decide_by_quality(message.photos, policy)).outcome is Outcome.PASS
    ]
    decisions.append_decisions(
        session, [_to_append(message, decision, DecidedBy.RESCORING) for message, decision in passing]
    )
    return len(outbox.withdraw(session, [message.id for message, _ in passing], reason="passed_when_rescored"))


def _decide(
    session: Session, messages: Sequence[AssessedMessage], policy: RetakePolicy
) -> list[tuple[AssessedMessage, Decision]]:
    """Decides in order; a retake counts as a request for the later messages of its thread."""
    by_quality = [(message, decide_by_quality(message.photos, policy)) for message in messages]
    asking = {message.thread_id for message, decision in by_quality if decision.outcome is Outcome.RETAKE}
    if not asking:
        return by_quality
    threads = decisions.load_threads(session, asking)
    limited = []
    for message, decision in by_quality:
        if decision.outcome is Outcome.RETAKE:
            history = threads.history_before(message)
            decision = limit_requests(
                decision, message.photos, history, policy, opted_out=message.opted_out, now=threads.now
            )
            if decision.outcome is Outcome.RETAKE:
                threads.add(message)
        limited.append((message, decision))
    return limited


def _flag(session: Session, changed: Sequence[tuple[AssessedMessage, NewDecision]], policy: RetakePolicy) -> int:
    """Flags a request for each retake whose message has no open request; returns their number."""
    retakes = [(message, new.id) for message, new in changed if new.outcome is Outcome.RETAKE]
    active = outbox.active_among(session, [message.id for message, _ in retakes]) if retakes else set()
    to_flag = [
        compose_request(
            message.id,
            message.thread_id,
            decision_id,
            photos=message.photos,
            locale=message.locale,
            policy=policy,
        )
        for message, decision_id in retakes
        if message.id not in active
    ]
    outbox.flag(session, to_flag)
    return len(to_flag)


def _to_append(message: AssessedMessage, decision: Decision, decided_by: DecidedBy) -> NewDecision:
    return NewDecision(
        id=DecisionId(new_id()),
        message_id=message.id,
        supersedes_id=message.current.id if message.current else None,
        outcome=decision.outcome,
        reason=decision.reason,
        decided_by=decided_by,
        model_version_id=message.model_version_id,
    )
