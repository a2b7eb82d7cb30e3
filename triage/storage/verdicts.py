"""Verdicts: one for each attachment and model, written once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Double, Select, Text, exists, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session, aliased
from sqlalchemy.types import Boolean, Integer, Uuid

from triage.domain.ids import AttachmentId, ModelVersionId, RunId, first_id, new_id
from triage.domain.messages import ClaimedAttachment
from triage.domain.photos import Scored
from triage.domain.states import AttachmentStatus, VerdictOrigin
from triage.storage.database import recordset
from triage.storage.retention import bytes_are_there
from triage.storage.tables import Attachment, Message, Verdict

_LOOKED_AT_ONCE: Final = 5000


def add(
    session: Session,
    scored: Sequence[Scored],
    *,
    model_version_id: ModelVersionId,
    threshold: float,
    origin: VerdictOrigin,
    run_id: RunId | None = None,
) -> list[AttachmentId]:
    """Writes verdicts, once for each attachment and model, and returns the attachments whose verdict was new."""
    if not scored:
        return []
    rows = recordset(
        "scored",
        [
            {
                "id": new_id(),
                "attachment_id": item.id,
                "score": item.score.score,
                "acceptable": item.acceptable,
                "grade": item.score.grade,
                "cumulative": item.score.cumulative,
                "patch_scores": item.score.patch_scores,
                "findings": [asdict(finding) for finding in item.findings],
                "width": item.facts.width,
                "height": item.facts.height,
                "n_frames": item.facts.n_frames,
                "frame": item.facts.frame,
            }
            for item in scored
        ],
        id=Uuid(),
        attachment_id=Uuid(),
        score=Double(),
        acceptable=Boolean(),
        grade=Integer(),
        cumulative=ARRAY(Double()),
        patch_scores=ARRAY(Double()),
        findings=JSONB(),
        width=Integer(),
        height=Integer(),
        n_frames=Integer(),
        frame=Integer(),
    )
    constants = {
        "model_version_id": literal(model_version_id, Uuid()),
        "threshold": literal(threshold, Double()),
        "origin": literal(origin.value, Text()),
        "run_id": literal(run_id, Uuid()),
    }
    insertion = insert(Verdict).from_select([*rows.c.keys(), *constants], select(*rows.c, *constants.values()))
    statement = insertion.on_conflict_do_update(  # what a model said in the shadow counts once it is asked in earnest
        index_elements=[Verdict.attachment_id, Verdict.model_version_id],
        set_={name: insertion.excluded[name] for name in ("origin", "run_id", "threshold", "acceptable")},
        where=(Verdict.origin == VerdictOrigin.SHADOW) & (insertion.excluded.origin != VerdictOrigin.SHADOW),
    )
    return [AttachmentId(row) for row in session.scalars(statement.returning(Verdict.attachment_id))]


@dataclass(frozen=True, slots=True)
class Found:
    """
    Attributes:
        attachments: in the order of their ids.
        looked_up_to: the attachment id with which to go on.
        is_end: no attachment lies beyond it.
    """

    attachments: Sequence[ClaimedAttachment]
    looked_up_to: UUID
    is_end: bool


def without_verdict(
    session: Session,
    model_version_id: ModelVersionId,
    *,
    after: UUID,
    since: datetime | None,
    until: datetime,
    limit: int,
) -> Found:
    """The next scored attachments that this model has not judged and whose photo was not purged.

    It looks at no more than some thousand attachments, so that millions that need nothing hold nobody up.

    Args:
        after: only ids above this one.
        since: only messages received from then on.
        until: only attachments received before.
        limit: how many at the most.
    """
    beyond = select(Attachment.id).where(Attachment.id > after).order_by(Attachment.id)
    last = session.scalar(beyond.offset(_LOOKED_AT_ONCE - 1).limit(1))
    query = (
        _unjudged(model_version_id, since)
        .add_columns(Attachment.id, Attachment.sha256, Attachment.uri, Attachment.attempts)
        .where(Attachment.id > after, *([Attachment.id <= last] if last else []), Attachment.created_at < until)
        .order_by(Attachment.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    attachments = [ClaimedAttachment(AttachmentId(row.id), row.sha256, row.uri, row.attempts) for row in rows]
    if len(rows) == limit:
        return Found(attachments, rows[-1].id, is_end=False)
    return Found(attachments, last or (rows[-1].id if rows else after), is_end=last is None)


def count_without(session: Session, model_version_id: ModelVersionId, *, since: datetime | None) -> int:
    """How many scored attachments this model has not judged, without those whose photo was purged."""
    return session.scalar(_unjudged(model_version_id, since).add_columns(func.count())) or 0


def _unjudged(model_version_id: ModelVersionId, since: datetime | None) -> Select[Any]:
    """Over scored attachments that may be scored again and that this model has not judged other than in the shadow."""
    judged = exists(
        select(Verdict.id).where(
            Verdict.attachment_id == Attachment.id,
            Verdict.model_version_id == model_version_id,
            Verdict.origin != VerdictOrigin.SHADOW,
        )
    )
    query = (
        select().select_from(Attachment).where(Attachment.status == AttachmentStatus.SCORED, ~judged, bytes_are_there())
    )
    if since is None:
        return query
    return query.join(Message, Message.id == Attachment.message_id).where(
        Message.received_at >= since, Attachment.id >= first_id(since)
    )


def count_flips(
    session: Session, model_version_id: ModelVersionId, attachment_ids: Sequence[AttachmentId]
) -> tuple[int, int]:
    """How many of these photos this model judges otherwise than the inbox did: good to bad, and bad to good."""
    new, old = aliased(Verdict), aliased(Verdict)
    row = session.execute(
        select(
            func.count().filter(old.acceptable, ~new.acceptable).label("good_to_bad"),
            func.count().filter(~old.acceptable, new.acceptable).label("bad_to_good"),
        )
        .join_from(new, old, (old.attachment_id == new.attachment_id) & (old.origin == VerdictOrigin.INBOX))
        .where(
            new.model_version_id == model_version_id,
            old.model_version_id != model_version_id,
            new.attachment_id == func.any(list(attachment_ids)),
        )
    ).one()
    return row.good_to_bad, row.bad_to_good
