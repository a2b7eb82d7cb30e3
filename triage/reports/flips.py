"""Flips: photos whose verdict differs between a rescoring run and the inbox, by day and source."""

from typing import Any

from sqlalchemy import Date, cast, func, select
from sqlalchemy.orm import Session, aliased

from triage.domain.ids import RunId
from triage.domain.states import RunKind, VerdictOrigin
from triage.errors import UsageError
from triage.storage import runs
from triage.storage.database import Sessions
from triage.storage.tables import Attachment, Message, Verdict


def flips_of(sessions: Sessions, run_id: RunId) -> list[dict[str, Any]]:
    """Compares the verdicts of a rescoring run with those of the inbox, by day and source, oldest first.

    Returns:
        `{day, source, photos, good_to_bad, bad_to_good}` for each day on which messages were received (UTC).

    Raises:
        UsageError: no run has this id, or it is a training run.
    """
    with sessions() as session:
        run = runs.find(session, run_id)
        if run.kind is not RunKind.RESCORING:
            raise UsageError("a training run has no flips: name a rescoring run")
        return _flips(session, run.id)


def _flips(session: Session, run_id: RunId) -> list[dict[str, Any]]:
    new, old = aliased(Verdict), aliased(Verdict)
    day = cast(func.timezone("UTC", Message.received_at), Date).label("day")
    rows = session.execute(
        select(
            day,
            Message.source,
            func.count().label("photos"),
            func.count().filter(old.acceptable, ~new.acceptable).label("good_to_bad"),
            func.count().filter(~old.acceptable, new.acceptable).label("bad_to_good"),
        )
        .join_from(new, old, (old.attachment_id == new.attachment_id) & (old.origin == VerdictOrigin.INBOX))
        .join(Attachment, Attachment.id == new.attachment_id)
        .join(Message, Message.id == Attachment.message_id)
        .where(new.run_id == run_id)
        .group_by(day, Message.source)
        .order_by(day, Message.source)
    )
    return [dict(row) | {"day": row["day"].isoformat()} for row in rows.mappings()]
