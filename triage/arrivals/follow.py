"""What follows from messages as their system has them now: they are accepted, or withdrawn, or answer a request."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from triage.domain.arrivals import Found
from triage.domain.messages import Acceptance
from triage.intake import Intake
from triage.reports.state import known_messages
from triage.retakes.opt_out import withdraw_message
from triage.retakes.policy import RetakePolicy
from triage.retakes.requests import answer
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of messages, by the sender's id.

    Attributes:
        withdrawn: those that are known.
    """

    accepted: Mapping[str, Acceptance]
    withdrawn: Set[str]


@use_case
def follow(
    sessions: Sessions,
    intake: Intake,
    found: Mapping[str, Found],
    *,
    source: str,
    by: str,
    policy: RetakePolicy,
    versions: Mapping[str, int] | None = None,
) -> Followed:
    """Accepts messages in one transaction: all of them or, on an error, none. Then withdraws, and records answers.

    Idempotent: after a fault between two of these steps, the same call makes up for the later ones.

    Args:
        sessions: of the worker role.
        intake: accepts the messages.
        found: by the sender's id of the message. A known message that is not accepted again can answer requests.
        source: of the messages.
        by: id of the system that says so.
        policy: decides messages that are withdrawn.
        versions: by the sender's id, of messages that are accepted or withdrawn only while they have this version; 0
            for one that is not stored.

    Raises:
        UsageError: a message or an argument is malformed.
        ChangedError: a message has another version. It was not changed and, if it is to be accepted, no other one.
        DatabaseUnavailableError, BlobStoreUnavailableError: retry.
    """
    incoming = [each.message for each in found.values() if each.message is not None]
    expected = {(source, name): version for name, version in (versions or {}).items()}
    accepted = {each.external_id: each for each in (intake.enqueue(incoming, versions=expected) if incoming else ())}
    withdrawn = {
        name
        for name, each in found.items()
        if each.is_withdrawn
        and withdraw_message(
            sessions, source=source, message=name, by=by, policy=policy, version=(versions or {}).get(name)
        )
    }
    answering = [name for name, each in found.items() if each.answers]
    known = known_messages(sessions, answering, source=source) if answering else {}
    for name in known:
        answer(sessions, found[name].answers, source=source, message_id=known[name].id, by=by)
    return Followed(accepted, withdrawn)
