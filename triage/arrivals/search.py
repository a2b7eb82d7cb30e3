"""Searches a system for messages that it has not announced, one searcher at a time.

The time up to which messages are known moves in the transaction that stores what was found, so nothing between two
searches is lost when a searcher is killed.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from triage.errors import ServiceUnavailableError
from triage.storage import arrivals
from triage.storage.database import Sessions

LEASE: Final = timedelta(minutes=30)
"""Of a search; after the death of a searcher, no other searches for that long."""

LONGEST_DELAY: Final = timedelta(minutes=15)
"""After a search that failed."""


class Finder(Protocol):
    """Searches one system."""

    def find(self, since: datetime) -> Mapping[str, str | None]:
        """The messages that arrived or changed at this time or later, with their versions, by reference.

        Raises:
            ServiceUnavailableError: the system cannot answer now.
            TriageError: it does not accept the search.
        """


class Searcher:
    """Searches one source."""

    def __init__(
        self, sessions: Sessions, source: str, finder: Finder, *, interval: timedelta, overlap: timedelta
    ) -> None:
        """
        Args:
            sessions: of the worker role.
            source: the system that holds the messages.
            finder: of that system.
            interval: between the end of a search and the next. One that failed is repeated after at most
                `LONGEST_DELAY`, and not before the time that the system asks for.
            overlap: how far a search reaches back behind the previous one: clocks differ, and a system may take time
                until a message is found.
        """
        self._sessions = sessions
        self._source = source
        self._finder = finder
        self._interval = interval
        self._overlap = overlap

    def search(self) -> int | None:
        """Searches if it is time; returns the number of messages that are due because of it, None if it is not time.

        Raises:
            ServiceUnavailableError: the system or Postgres is unavailable. The next search starts where this one did.
            TriageError: the system does not accept the search; likewise.
        """
        with self._sessions.begin() as session:
            search = arrivals.claim_search(session, self._source, lease=LEASE)
        if search is None:
            return None
        try:
            found = self._finder.find(search.since - self._overlap)
        except Exception as error:  # a defect too must not keep the lease
            asked = error.retry_after if isinstance(error, ServiceUnavailableError) else None
            again_in = max(min(self._interval, LONGEST_DELAY), min(asked or timedelta(0), LONGEST_DELAY))
            with self._sessions.begin() as session:
                arrivals.record_search(session, search, complete=False, again_in=again_in)
            raise
        with self._sessions.begin() as session:
            due = arrivals.announce(session, search.source, found)
            arrivals.record_search(session, search, complete=True, again_in=self._interval)
        return due
