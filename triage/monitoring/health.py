"""Health by progress: a part is unhealthy if work waits for it and nothing moves, even if its process is alive."""

from datetime import timedelta

from triage.domain.states import Part
from triage.storage import health
from triage.storage.database import Sessions
from triage.storage.use_case import use_case


@use_case
def stalled(sessions: Sessions, part: Part, after: timedelta, *, lease: timedelta) -> str | None:
    """Returns one line that says what has made no progress for longer than `after`, or None.

    Args:
        sessions: of any role.
        part: the part to examine.
        after: time without progress.
        lease: length of the lease on photos. A photo claimed longer than `after` ago without a verdict counts as no
            progress, even if its lease has not expired.
    """
    with sessions() as session:
        return health.stalled(session, part, after, lease=lease)
