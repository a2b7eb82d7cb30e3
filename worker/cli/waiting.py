"""Waiting for photos to be scored, with progress on stderr."""

import time

from triage.domain.ids import MessageId
from triage.reports.waiting import count_open_photos
from worker.cli.progress import ProgressLine
from worker.services import Services


def wait_until_done(services: Services, message: MessageId | None, timeout: float) -> int:
    """Shows progress on stderr until no photo is pending or the timeout expires.

    Returns:
        The number of photos that are still pending.
    """
    deadline = time.monotonic() + timeout
    total = 0
    with ProgressLine() as line:
        while True:
            remaining = count_open_photos(services.sessions, message)
            total = max(total, remaining)
            line.show(f"{total - remaining} of {total} photos scored", 1 - remaining / max(1, total))
            if not remaining or time.monotonic() > deadline:
                return remaining
            time.sleep(0.2)
