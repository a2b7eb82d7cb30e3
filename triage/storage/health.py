"""Queries for health by progress: whether a part makes no progress while work waits for it."""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from triage.domain.states import Part, RunKind
from triage.storage.tables import FRESH, LEASED, OPEN_RUN, RETRY, UNREAD, Attachment, Run, Verdict


def count_unread(session: Session) -> int:
    """The number of pending photos whose storage did not provide their bytes at the last attempt."""
    return session.scalar(select(func.count()).select_from(Attachment).where(UNREAD)) or 0


def stalled(session: Session, part: Part, after: timedelta, *, lease: timedelta) -> str | None:
    """Returns one line that says what has made no progress for longer than `after`, or None.

    Args:
        session: of any role.
        part: the part to examine.
        after: time without progress.
        lease: length of the lease on photos. A photo claimed longer than `after` ago without a verdict counts as no
            progress, even if its lease has not expired.
    """
    limit = func.statement_timestamp() - after  # stable within the statement, so the indexes are usable
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
            return "photos are pending and none is being scored" if (waiting or held) and not moved else None
        case Part.INTAKE:
            expired = session.scalar(select(Attachment.id).where(LEASED, Attachment.lease_until < limit).limit(1))
            return "expired leases are not swept: check that beat runs" if expired else None
        case Part.TRAINING:
            training = select(Run.id).where(OPEN_RUN, Run.kind == RunKind.TRAINING).limit(1)
            waiting = session.scalar(training.where(func.coalesce(Run.heartbeat_at, Run.created_at) < limit))
            moved = session.scalar(training.where(Run.heartbeat_at > limit))  # the other runs wait for this one
            return "a training run is pending or has no heartbeat" if waiting and not moved else None
