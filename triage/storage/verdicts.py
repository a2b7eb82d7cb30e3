"""Verdicts: one per attachment and model, written once."""

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

_EXAMINED_PER_PAGE: Final = 5000


def add(
    session: Session,
    scored: Sequence[Scored],
    *,
    model_version_id: ModelVersionId,
    threshold: float,
    origin: VerdictOrigin,
    run_id: RunId | None = None,
) -> list[AttachmentId]:
    """Writes verdicts, one per attachment and model, and returns the attachments whose verdict is new.

    A verdict replaces a shadow verdict of the same model, which then counts as new.
    """
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
    statement = insertion.on_conflict_do_update(  # a verdict that counts replaces a shadow verdict
        index_elements=[Verdict.attachment_id, Verdict.model_version_id],
        set_={name: insertion.excluded[name] for name in ("origin", "run_id", "threshold", "acceptable")},
        where=(Verdict.origin == VerdictOrigin.SHADOW) & (insertion.excluded.origin != VerdictOrigin.SHADOW),
    )
    return [AttachmentId(row) for row in session.scalars(statement.returning(Verdict.attachment_id))]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of attachments.

    Attributes:
        attachments: in the order of their ids.
        next_after: the attachment id after which the next page starts.
        is_last: no attachment follows.
    """

    attachments: Sequence[ClaimedAttachment]
    next_after: UUID
    is_last: bool


def without_verdict(
    session: Session,
    model_version_id: ModelVersionId,
    *,
    after: UUID,
    since: datetime | None,
    until: datetime,
    limit: int,
) -> Page:
    """The next page of scored attachments without a verdict of this model, whose photos were not purged.

    It examines a bounded number of attachments, so the query stays short even if millions have a verdict.

    Args:
        session: of the caller's transaction.
        model_version_id: the model. Its shadow verdicts do not count.
        after: only attachments with a greater id.
        since: only messages received at or after this time.
        until: only attachments received before this time.
        limit: maximum number of attachments on the page.
    """
    beyond = select(Attachment.id).where(Attachment.id > after).order_by(Attachment.id)
    last = session.scalar(beyond.offset(_EXAMINED_PER_PAGE - 1).limit(1))
    query = (
        _without_verdict(model_version_id, since)
        .add_columns(Attachment.id, Attachment.sha256, Attachment.uri)
        .where(Attachment.id > after, *([Attachment.id <= last] if last else []), Attachment.created_at < until)
        .order_by(Attachment.id)
        .limit(limit)
    )
    rows = session.execute(query).all()
    attachments = [ClaimedAttachment(AttachmentId(row.id), row.sha256, row.uri) for row in rows]
    if len(rows) == limit:
        return Page(attachments, rows[-1].id, is_last=False)
    return Page(attachments, last or (rows[-1].id if rows else after), is_last=last is None)


def count_without(session: Session, model_version_id: ModelVersionId, *, since: datetime | None) -> int:
    """The number of scored attachments without a verdict of this model, whose photos were not purged."""
    return session.scalar(_without_verdict(model_version_id, since).add_columns(func.count())) or 0


def _without_verdict(model_version_id: ModelVersionId, since: datetime | None) -> Select[Any]:
    """A query over scored attachments that can be scored again and have at most a shadow verdict of this model."""
    has_verdict = exists(
        select(Verdict.id).where(
            Verdict.attachment_id == Attachment.id,
            Verdict.model_version_id == model_version_id,
            Verdict.origin != VerdictOrigin.SHADOW,
        )
    )
    query = (
        select()
        .select_from(Attachment)
        .where(Attachment.status == AttachmentStatus.SCORED, ~has_verdict, bytes_are_there())
    )
    if since is None:
        return query
    return query.join(Message, Message.id == Attachment.message_id).where(
        Message.received_at >= since, Attachment.id >= first_id(since)
    )


def count_flips(
    session: Session, model_version_id: ModelVersionId, attachment_ids: Sequence[AttachmentId]
) -> tuple[int, int]:
    """The number of these photos whose verdict differs from the inbox's: good to bad, and bad to good."""
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
