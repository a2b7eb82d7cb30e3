"""Deciding messages: from verdicts to an appended decision and, where a retake is asked for, a flagged request."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from triage.domain.ids import DecisionId, new_id
from triage.domain.states import DecidedBy, Outcome
from triage.retakes.policy import RetakePolicy, Verdict, guard_against_loops, judge_photos
from triage.storage import decisions, outbox
from triage.storage.decisions import AssessedMessage, NewDecision


@dataclass(frozen=True, slots=True)
class Decided:
    """How many decisions were appended, and how many retake requests flagged."""

    decisions: int = 0
    flagged: int = 0


def decide_messages(session: Session, message_ids: Collection[UUID], policy: RetakePolicy) -> Decided:
    """Decides those of the messages that have no photo pending. The caller holds the locks of their threads.

    A person's decision stands, whatever a model says later. A decision that would repeat the current one is not made.
    """
    if not message_ids:
        return Decided()
    messages = [
        message
        for message in decisions.load_assessed(session, message_ids)
        if message.current is None or message.current.decided_by is not DecidedBy.PERSON
    ]
    if not messages:
        return Decided()
    verdicts = [(message, judge_photos(message.photos, policy)) for message in messages]
    verdicts = _guarded(session, verdicts, policy)

    changed = [
        (message, _new_decision(message, verdict, DecidedBy.MODEL))
        for message, verdict in verdicts
        if message.current is None
        or (message.current.outcome, message.current.reason) != (verdict.outcome, verdict.reason)
    ]
    decisions.append_decisions(session, [decision for _, decision in changed])
    outbox.withdraw(
        session,
        [m.id for m, d in changed if m.current is not None and d.outcome is not Outcome.RETAKE],
        reason="decided_again",
    )
    to_flag = [(m.id, m.thread_id, d.id) for m, d in changed if d.outcome is Outcome.RETAKE]
    active = outbox.active_among(session, [message_id for message_id, _, _ in to_flag]) if to_flag else set()
    to_flag = [request for request in to_flag if request[0] not in active]
    outbox.flag(session, to_flag)
    return Decided(len(changed), len(to_flag))


def reconsider_unsent(
    session: Session, message_ids: Collection[UUID], policy: RetakePolicy, *, model_version_id: UUID
) -> int:
    """Withdraws unsent requests of messages that pass by the verdicts of another model; nothing is ever sent.

    Returns:
        How many requests were withdrawn.
    """
    unsent = outbox.unsent_among(session, message_ids)
    if not unsent:
        return 0
    passing = [
        message
        for message in decisions.load_assessed(session, unsent, by_model=model_version_id)
        if message.current is not None
        and message.current.decided_by is not DecidedBy.PERSON
        and judge_photos(message.photos, policy).outcome is Outcome.PASS
    ]
    decisions.append_decisions(
        session,
        [_new_decision(message, judge_photos(message.photos, policy), DecidedBy.RESCORING) for message in passing],
    )
    return len(outbox.withdraw(session, [message.id for message in passing], reason="passed_when_rescored"))


def _guarded(
    session: Session, verdicts: list[tuple[AssessedMessage, Verdict]], policy: RetakePolicy
) -> list[tuple[AssessedMessage, Verdict]]:
    asking = {message.thread_id for message, verdict in verdicts if verdict.outcome is Outcome.RETAKE}
    if not asking:
        return verdicts
    threads = decisions.load_threads(session, asking)
    guarded = []
    for message, verdict in verdicts:
        if verdict.outcome is Outcome.RETAKE:
            history = threads.history_before(message)
            verdict = guard_against_loops(
                verdict, message.photos, history, policy, opted_out=message.opted_out, now=threads.now
            )
            if verdict.outcome is Outcome.RETAKE:
                threads.add(message)
        guarded.append((message, verdict))
    return guarded


def _new_decision(message: AssessedMessage, verdict: Verdict, decided_by: DecidedBy) -> NewDecision:
    return NewDecision(
        id=DecisionId(new_id()),
        message_id=message.id,
        supersedes_id=message.current.id if message.current else None,
        outcome=verdict.outcome,
        reason=verdict.reason,
        decided_by=decided_by,
        model_version_id=message.model_version_id,
    )
