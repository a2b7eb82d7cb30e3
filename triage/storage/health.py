"""Health by progress: a worker that does nothing while rows wait is not healthy, however alive its process is."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from triage.domain.states import Part, RunKind
from triage.storage.tables import FRESH, LEASED, OPEN_RUN, RETRY, Attachment, Run, Verdict


def stalled(session: Session, part: Part, after: timedelta, *, lease: timedelta) -> str | None:
    """Says in one line what stands still for longer than `after`, or None where all goes on.

    Args:
        lease: of photos. One that was taken before `after` and has no verdict yet is no progress, however long its
            lease still lasts.
    """
    limit = func.statement_timestamp() - after  # one moment, which an index can be asked for
    match part:
        case Part.SCORING:
            waiting = any(
                session.scalar(select(Attachment.id).where(state, Attachment.due_at < limit).limit(1))
                for state in (FRESH, RETRY)
            )
            moved = session.scalar(select(func.max(Verdict.created_at) > limit)) or session.scalar(
                select(Attachment.id).where(LEASED, Attachment.lease_until - lease > limit).limit(1)
            )
            held = session.scalar(select(Attachment.id).where(LEASED, Attachment.lease_until - lease < limit).limit(1))
            return "photos wait and none is being scored" if (waiting or held) and not moved else None
        case Part.INTAKE:
            expired = session.scalar(select(Attachment.id).where(LEASED, Attachment.lease_until < limit).limit(1))
            return "expired leases are not swept: is beat up?" if expired else None
        case Part.TRAINING:
            training = select(Run.id).where(OPEN_RUN, Run.kind == RunKind.TRAINING).limit(1)
            waiting = session.scalar(training.where(func.coalesce(Run.heartbeat_at, Run.created_at) < limit))
            moved = session.scalar(training.where(Run.heartbeat_at > limit))  # the others wait for this one
            return "a training run waits or has no heartbeat" if waiting and not moved else None
