"""Verdicts: one for each attachment and model, written once."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Double, Text, exists, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.orm import Session, aliased
from sqlalchemy.types import Boolean, Integer, Uuid

from triage.domain import (
    AttachmentId,
    AttachmentStatus,
    ClaimedAttachment,
    ModelVersionId,
    RunId,
    Scored,
    VerdictOrigin,
    new_id,
)
from triage.storage.engine import recordset
from triage.storage.retention import bytes_are_there
from triage.storage.tables import Attachment, Message, Verdict


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


def without_verdict(
    session: Session,
    model_version_id: ModelVersionId,
    *,
    after: UUID | None,
    since: datetime | None,
    limit: int,
) -> list[ClaimedAttachment]:
    """Scored attachments that this model has not judged and whose photo was not purged, in the order of their ids.

    Args:
        after: only ids above this one.
        since: only messages received from then on.
        limit: how many at the most.
    """
    judged = _judged_by(model_version_id)
    query = (
        select(Attachment.id, Attachment.sha256, Attachment.uri, Attachment.attempts)
        .where(Attachment.status == AttachmentStatus.SCORED, ~judged, bytes_are_there())
        .order_by(Attachment.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(Attachment.id > after)
    if since is not None:
        query = query.join(Message, Message.id == Attachment.message_id).where(Message.received_at >= since)
    rows = session.execute(query)
    return [ClaimedAttachment(AttachmentId(row.id), row.sha256, row.uri, row.attempts) for row in rows]


def count_without(session: Session, model_version_id: ModelVersionId, *, since: datetime | None) -> int:
    """How many scored attachments this model has not judged, without those whose photo was purged."""
    judged = _judged_by(model_version_id)
    query = (
        select(func.count())
        .select_from(Attachment)
        .where(Attachment.status == AttachmentStatus.SCORED, ~judged, bytes_are_there())
    )
    if since is not None:
        query = query.join(Message, Message.id == Attachment.message_id).where(Message.received_at >= since)
    return session.scalar(query) or 0


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


def _judged_by(model_version_id: ModelVersionId) -> ColumnElement[bool]:
    """Whether a model has judged an attachment other than in the shadow."""
    return exists(
        select(Verdict.id).where(
            Verdict.attachment_id == Attachment.id,
            Verdict.model_version_id == model_version_id,
            Verdict.origin != VerdictOrigin.SHADOW,
        )
    )
