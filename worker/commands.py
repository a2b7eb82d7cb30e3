"""Command lines that start a worker or beat."""

import sys
from typing import Final

from triage.errors import UsageError
from worker.queues import WORKERS

_CELERY: Final = (sys.executable, "-m", "celery", "--quiet", "--app", "worker.app")


def celery_command(kind: str, *, beat: bool = False) -> list[str]:
    """Returns the command line of a worker with one child process, without gossip and mingle between workers.

    Args:
        kind: a key of `WORKERS`.
        beat: also runs beat in this worker; only for deployments on one machine.

    Raises:
        UsageError: the kind is unknown.
    """
    if kind not in WORKERS:
        raise UsageError(f"unknown kind of worker {kind!r}: choose {', '.join(WORKERS)}")
    return [
        *(*_CELERY, "worker"),
        *("--hostname", f"{kind}@%h", "--queues", ",".join(WORKERS[kind])),
        *("--pool", "prefork", "--concurrency", "1", "--loglevel", "WARNING"),
        *("--without-gossip", "--without-mingle"),
        *(["--beat"] if beat else []),
    ]


def beat_command() -> list[str]:
    """Returns the command line of beat as a separate process. Several may run at the same time."""
    return [*_CELERY, "beat", "--loglevel", "WARNING", "--pidfile", ""]
