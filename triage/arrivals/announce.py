"""Noting that another system holds messages to read."""

from collections.abc import Mapping

from triage.domain.text import check_id, check_word
from triage.storage import arrivals
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


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
def has_work(sessions: Sessions, source: str, *, searches: bool) -> bool:
    """Whether a message of this source is due to be read or, if it is searched, whether its search is due."""
    with sessions() as session:
        return arrivals.is_due(session, source) or (searches and arrivals.is_search_due(session, source))
