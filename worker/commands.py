"""The commands that start a worker or beat."""

import sys
from typing import Final

from triage.errors import UsageError
from worker.queues import WORKERS

_CELERY: Final = (sys.executable, "-m", "celery", "--quiet", "--app", "worker.app")


def celery_command(kind: str, *, beat: bool = False) -> list[str]:
    """The command of a worker: its queues, one child, and no chatter between workers.

    Args:
        kind: a key of `WORKERS`.
        beat: runs beat inside this worker; for one machine only.

    Raises:
        UsageError: there is no such kind.
    """
    if kind not in WORKERS:
        raise UsageError(f"no worker is called {kind!r}: choose {', '.join(WORKERS)}")
    return [
        *(*_CELERY, "worker"),
        *("--hostname", f"{kind}@%h", "--queues", ",".join(WORKERS[kind])),
        *("--pool", "prefork", "--concurrency", "1", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
        *(["--beat"] if beat else []),
    ]


def beat_command() -> list[str]:
    """The command of beat in a process of its own, of which there may be several."""
    return [*_CELERY, "beat", "--loglevel", "WARNING", "--pidfile", ""]
