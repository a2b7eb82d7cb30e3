"""Servers that are left alone for a while after a failure, so that a hung one does not hold up the other photos."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from triage.blobs.web import RefusedError
from triage.errors import AttachmentError, StorageFaultError

_TIMES: Final = 10


class Pauses:
    """A failed fetch pauses its server for ten times as long as it took. Thread-safe.

    A server that hangs until the time limit of each fetch therefore takes at most a tenth of the time of a worker, and
    one that refuses connections at once is asked again at once.
    """

    def __init__(self) -> None:
        self._until: dict[object, float] = {}

    @contextmanager
    def fetch_from(self, server: object) -> Iterator[None]:
        """Runs one fetch.

        Raises:
            StorageFaultError: the server is paused; nothing was fetched.
        """
        started = time.monotonic()
        if started < self._until.get(server, 0.0):
            raise StorageFaultError("the server of the photo has just failed: retry later")
        try:
            yield
        except (AttachmentError, FileNotFoundError, RefusedError):  # an answer
            raise
        except Exception:
            now = time.monotonic()
            self._until[server] = now + _TIMES * (now - started)
            raise
