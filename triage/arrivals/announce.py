"""Noting that another system holds messages to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from triage.domain.arrivals import Events
from triage.domain.text import check_id, check_word
from triage.errors import UsageError
from triage.storage import arrivals
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

MAX_EVENTS: Final = 2**62
"""The highest number of an event that is stored."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """What follows from a notification.

    Attributes:
        due: messages that are due because of it.
        missed: its events do not follow those before.
    """

    due: int
    missed: bool


@use_case
def announce(sessions: Sessions, source: str, versions: Mapping[str, str | None]) -> int:
    """Notes messages that are to be read on another system. Idempotent: a version that was read is not read again.

    Nothing but these references is stored, so that an announcement decides only what is read.

    Args:
        sessions: of the worker role.
        source: the system that holds them.
        versions: by reference; None if the version is not known, so that the message is read in any case.

    Returns:
        The number of messages that are due because of this call.

    Raises:
        UsageError: an argument is malformed.
    """
    _check(source, versions)
    with sessions.begin() as session:
        return arrivals.announce(session, source, versions)


@use_case
def notify(
    sessions: Sessions, source: str, references: Sequence[str], *, searches: bool = False, events: Events | None = None
) -> Noticed:
    """Notes what a source notifies of, in one transaction: all of it is stored or, on an error, nothing.

    Args:
        sessions: of the worker role.
        source: the system that holds the messages.
        references: messages to be read there.
        searches: something happened that the notification does not name, so that only a search finds it.
        events: the numbers of the notification's events. Those that do not follow the ones before make a search due.

    Raises:
        UsageError: an argument is malformed.
    """
    _check(source, dict.fromkeys(references))
    if events is not None:
        check_id(events.subscription, "subscription")
        if not 0 <= events.first - 1 <= events.last <= MAX_EVENTS:
            raise UsageError("invalid numbers of events: the first is above the last, or they are out of range")
    with sessions.begin() as session:
        due = arrivals.announce(session, source, dict.fromkeys(references))
        follow = events is None or arrivals.note_events(session, source, events)
        if searches or not follow:
            arrivals.hasten_search(session, source)
    return Noticed(due, missed=not follow)


@use_case
def has_work(sessions: Sessions, source: str, *, searches: bool) -> bool:
    """Whether a message of this source is due to be read or, if it is searched, whether its search is due."""
    with sessions() as session:
        return arrivals.is_due(session, source) or (searches and arrivals.is_search_due(session, source))


def _check(source: str, versions: Mapping[str, str | None]) -> None:
    check_word(source, "source")
    for reference, version in versions.items():
        check_id(reference, "reference")
        if version is not None:
            check_id(version, "version")
