"""Whether a part of the deployment makes progress: Redis knows its heartbeats, the database the work that waits."""

from datetime import timedelta

from triage.domain.states import Part
from worker.queues import WORKERS
from worker.services import Services


def find_stall(services: Services, part: str, after: timedelta) -> str | None:
    """Returns one line if a part is down or has made no progress for longer than `after`, or None.

    Args:
        services: of any role.
        part: one of `PARTS`.
        after: time without progress.

    Raises:
        ServiceUnavailableError: Redis or Postgres does not respond, or refuses this process.
    """
    from triage.monitoring.health import stalled  # deferred: imports SQLAlchemy

    problem = find_silence(services, part, after)
    if problem is None and part in set(Part):
        problem = stalled(services.sessions, Part(part), after, lease=services.settings.lease)
    return problem


def find_silence(services: Services, part: str, after: timedelta) -> str | None:
    """As `find_stall`, from Redis alone: a heartbeat is missing, or tasks wait for a worker that runs none."""
    from worker.broker.liveness import Heartbeat  # deferred: imports redis

    problem = services.worker_heartbeats.stalled(part, after.total_seconds()) if part in WORKERS else None
    if problem is None and part in set(Heartbeat):
        problem = services.liveness.missing(Heartbeat(part), after.total_seconds())
    return problem
