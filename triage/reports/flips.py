"""What a rescoring run would have decided otherwise: photos by the day and source of their message."""

from typing import Any

from sqlalchemy import Date, cast, func, select
from sqlalchemy.orm import Session, aliased

from triage.domain.ids import RunId
from triage.domain.states import VerdictOrigin
from triage.storage.tables import Attachment, Message, Verdict


def flips_of(session: Session, run_id: RunId) -> list[dict[str, Any]]:
    """The verdicts of a rescoring run beside those of the inbox, for each day and source, oldest first.

    Returns:
        `{day, source, photos, good_to_bad, bad_to_good}`; the day is that on which messages were received (UTC).
    """
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
