"""Noting that another system holds messages to read."""

from collections.abc import Mapping
from typing import Final

from triage.domain.text import check_id, check_word
from triage.errors import UsageError
from triage.storage import arrivals
from triage.storage.database import Sessions
from triage.storage.use_case import use_case

MAX_EVENTS: Final = 2**62
"""The highest number of an event that is stored."""


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
    check_word(source, "source")
    for reference, version in versions.items():
        check_id(reference, "reference")
        if version is not None:
            check_id(version, "version")
    with sessions.begin() as session:
        return arrivals.announce(session, source, versions)


@use_case
def search_now(sessions: Sessions, source: str) -> None:
    """Makes the next search of a source due, unless one runs: the source has announced that there is something to find.

    Raises:
        UsageError: the source is malformed.
    """
    check_word(source, "source")
    with sessions.begin() as session:
        arrivals.hasten_search(session, source)


@use_case
def note_events(sessions: Sessions, source: str, subscription: str, *, first: int, last: int) -> bool:
    """Notes the numbers of the events that a subscription of a source has notified of.

    A new subscription counts from 1. Numbers that arrive late change nothing.

    Args:
        sessions: of the worker role.
        source: the system that holds the messages.
        subscription: its reference there.
        first: the lowest number of this notification; of one without events, one more than the last.
        last: the highest number so far.

    Returns:
        Whether events before the first were missed, so that a search is needed.

    Raises:
        UsageError: an argument is malformed.
    """
    check_word(source, "source")
    check_id(subscription, "subscription")
    if not 0 <= first - 1 <= last <= MAX_EVENTS:
        raise UsageError("invalid numbers of events: the first is above the last, or they are out of range")
    with sessions.begin() as session:
        return arrivals.note_events(session, source, subscription, first=first, last=last)


@use_case
def has_work(sessions: Sessions, source: str, *, searches: bool) -> bool:
    """Whether a message of this source is due to be read or, if it is searched, whether its search is due."""
    with sessions() as session:
        return arrivals.is_due(session, source) or (searches and arrivals.is_search_due(session, source))
