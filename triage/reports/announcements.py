"""Waiting for decisions without asking again and again: each is announced by the database after its commit."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from triage.storage.announcements import decided_messages

_PAUSE_SECONDS: Final = 1.0


class Announcements:
    """Wakes those who wait for the decision on a message. One connection serves them all.

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

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    async def run(self) -> None:
        """Listens until it is cancelled. After a lost connection all waiting are woken, to look for themselves."""
        while True:
            try:
                async for message_id in decided_messages(self._url):
                    if message_id is None:
                        self.wake_all()  # of what was decided before this connection listened
                    else:
                        _wake(self._waiting.get(message_id, ()))
            except OSError:
                self._lost()
            await asyncio.sleep(_PAUSE_SECONDS)

    @contextmanager
    def decision_on(self, message_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set when the message is decided. Read the state of the message after subscribing."""
        event = asyncio.Event()
        self._waiting[message_id].add(event)
        try:
            yield event
        finally:
            self._waiting[message_id].discard(event)
            if not self._waiting[message_id]:
                del self._waiting[message_id]

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
