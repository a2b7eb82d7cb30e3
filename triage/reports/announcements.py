"""Waiting for decisions without asking again and again: each is announced by the database after its commit."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from triage.storage.announcements import announced, check_url

_PAUSE_SECONDS: Final = 1.0


class Announcements:
    """Wakes those who wait for the decision on a message or the answer to an assessment. One connection serves all.

    Attributes:
        closed: the process ends, so no one should wait any longer.
    """

    def __init__(self, url: str, *, lost: Callable[[], object] = lambda: None) -> None:
        """
        Args:
            url: of the database; see `triage.storage.announcements`.
            lost: called whenever the connection is lost or cannot be made.
        """
        self._url = url
        self._lost = lost
        self.closed = False
        self._waiting: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def check(self) -> None:
        """Connects once. A database that is down is no error: it may announce later.

        Raises:
            ListenUrlError: the URL is malformed, its host is unknown, or Postgres refuses to connect.
        """
        check_url(self._url)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def run(self) -> None:
        """Listens until it is cancelled. After a lost connection all waiting are woken, to look for themselves."""
        while True:
            try:
                async for id_ in announced(self._url):
                    if id_ is None:
                        self.wake_all()  # of what happened before this connection listened
                    else:
                        _wake(self._waiting.get(id_, ()))
            except OSError:
                self._lost()
            await asyncio.sleep(_PAUSE_SECONDS)

    @contextmanager
    def about(self, id_: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when this message is decided or this assessment answered. Read its state after that."""
        event = asyncio.Event()
        self._waiting[id_].add(event)
        try:
            yield event
        finally:
            self._waiting[id_].discard(event)
            if not self._waiting[id_]:
                del self._waiting[id_]

    def close(self) -> None:
        """Ends all waiting, because the process ends."""
        self.closed = True
        self.wake_all()

    def wake_all(self) -> None:
        """Wakes all who wait, to look for themselves."""
        for events in self._waiting.values():
            _wake(events)


def _wake(events: "set[asyncio.Event] | tuple[()]") -> None:
    for event in events:
        event.set()
