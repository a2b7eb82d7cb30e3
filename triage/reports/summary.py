"""The report: messages by outcome, retake rate, scores by model, what waits; by day, source, role and model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Date, case, cast, func, literal, select, true
from sqlalchemy.orm import Session, aliased

from triage.domain.card import UNTRAINED, label_of
from triage.domain.ids import first_id
from triage.domain.states import AttachmentStatus, DecidedBy, Outcome, RetakeStatus, VerdictOrigin
from triage.reports.dimensions import Dimension
from triage.storage.database import Sessions
from triage.storage.tables import PURGED, Attachment, Blob, Decision, Message, ModelVersion, RetakeRequest, Verdict

N_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Period:
    """Messages received from `since` on and before `until`; None leaves that end open."""

    since: datetime | None = None
    until: datetime | None = None

    def of(self, column: Any) -> list[ColumnElement[bool]]:
        """Of a column of times: it lies in the period."""
        after = [column >= self.since] if self.since else []
        before = [column < self.until] if self.until else []
        return [*after, *before]

    def may_be(self, id_column: Any) -> ColumnElement[bool]:
        """Of an id: its row may belong to a message of the period, for it is no older.

        While `CLOCKS_AGREE` it says nothing new, but the planner cannot know that years of other rows need not be
        looked at.
        """
        return id_column >= first_id(self.since) if self.since else true()


def report(sessions: Sessions, period: Period, by: Sequence[Dimension] = ()) -> dict[str, Any]:
    """Returns the report of a period, as `summarise` does, in a session of its own."""
    with sessions() as session:
        return summarise(session, period, by)


def summarise(session: Session, period: Period, by: Sequence[Dimension] = ()) -> dict[str, Any]:
    """The report of a period as JSON types.

    Returns:
        `{since, until, messages, photos, errors, retention, retake_requests, overrides, scores, shadows,
        oldest_pending_seconds, by, groups}`.
        `messages` and each group hold `total`, one count for each outcome, `pending`, and `retake_rate`: retakes by
        decided messages, or None where none is decided.
    """
    [messages] = _messages(session, period, ())
    return {
        "since": period.since.isoformat() if period.since else None,
        "until": period.until.isoformat() if period.until else None,
        "messages": messages,
        "photos": _photos(session, period),
        "errors": _errors(session, period),
        "retention": _retention(session, period),
        "retake_requests": _retake_requests(session, period),
        "overrides": _overrides(session, period),
        "scores": _scores(session, period),
        "shadows": _shadows(session, period),
        "oldest_pending_seconds": _oldest_pending_seconds(session),
        "by": [dimension.value for dimension in by],
        "groups": _messages(session, period, by) if by else [],
    }


def _messages(session: Session, period: Period, by: Sequence[Dimension]) -> list[dict[str, Any]]:
    keys = [_expression(dimension).label(dimension.value) for dimension in by]
    counts = [func.count().filter(Decision.outcome == outcome).label(outcome.value) for outcome in Outcome]
    query = (
        select(
            *keys,
            func.count().label("total"),
            *counts,
            func.count().filter(Message.current_decision_id.is_(None)).label("pending"),
        )
        .select_from(Message)
        .outerjoin(Decision, (Decision.id == Message.current_decision_id) & period.may_be(Decision.id))
        .outerjoin(ModelVersion, ModelVersion.id == Decision.model_version_id)
        .where(*period.of(Message.received_at))
        .group_by(*keys)
        .order_by(*keys)
    )
    rows = [dict(row) for row in session.execute(query).mappings()]
    for row in rows:
        row |= {key: str(row[key]) if row[key] is not None else None for key in [dimension.value for dimension in by]}
        decided = row["total"] - row["pending"]
        row["retake_rate"] = row["retake"] / decided if decided else None
    return rows


def _expression(dimension: Dimension) -> ColumnElement[Any]:
    match dimension:
        case Dimension.DAY:
            return cast(func.timezone("UTC", Message.received_at), Date)
        case Dimension.SOURCE:
            return Message.source.expression
        case Dimension.ROLE:
            return Message.role.expression
        case Dimension.MODEL:
            return _model_label()


def _model_label() -> ColumnElement[Any]:
    trained = ModelVersion.card["trained"].as_boolean()
    return case((trained, ModelVersion.name), (ModelVersion.id.is_not(None), literal(UNTRAINED)))


def _photos(session: Session, period: Period) -> dict[str, int]:
    counts = [func.count().filter(Attachment.status == status).label(status.value) for status in AttachmentStatus]
    row = session.execute(
        select(func.count().label("total"), *counts)
        .join(Message, Message.id == Attachment.message_id)
        .where(*period.of(Message.received_at), period.may_be(Attachment.id))
    ).one()
    return dict(row._mapping)


def _errors(session: Session, period: Period) -> dict[str, int]:
    rows = session.execute(
        select(Attachment.error_code, func.count())
        .join(Message, Message.id == Attachment.message_id)
        .where(Attachment.error_code.is_not(None), *period.of(Message.received_at), period.may_be(Attachment.id))
        .group_by(Attachment.error_code)
        .order_by(Attachment.error_code)
    )
    return {code: count for code, count in rows if code is not None}


def _retention(session: Session, period: Period) -> dict[str, int]:
    """Photos purged and messages forgotten in the period. A photo that nobody refers to leaves its trace for a day."""
    photos = select(func.count()).select_from(Blob).where(PURGED, *period.of(Blob.purged_at))
    messages = select(func.count()).where(Message.forgotten_at.is_not(None), *period.of(Message.forgotten_at))
    return {"photos_purged": session.scalar(photos) or 0, "messages_forgotten": session.scalar(messages) or 0}


def _retake_requests(session: Session, period: Period) -> dict[str, int]:
    counts = [func.count().filter(RetakeRequest.status == status).label(status.value) for status in RetakeStatus]
    row = session.execute(select(*counts).where(*period.of(RetakeRequest.created_at))).one()
    return dict(row._mapping)


def _overrides(session: Session, period: Period) -> int:
    query = (
        select(func.count())
        .select_from(Message)
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(Decision.decided_by == DecidedBy.PERSON, *period.of(Message.received_at), period.may_be(Decision.id))
    )
    return session.scalar(query) or 0


def _scores(session: Session, period: Period) -> list[dict[str, Any]]:
    bin_ = func.least(func.width_bucket(Verdict.score, 0.0, 1.0, N_BINS), N_BINS)
    rows = session.execute(
        select(
            Verdict.model_version_id,
            bin_.label("bin"),
            func.count().label("n"),
            func.sum(Verdict.score).label("total"),
            func.count().filter(Verdict.acceptable).label("acceptable"),
        )
        .where(*period.of(Verdict.created_at))
        .group_by(Verdict.model_version_id, bin_)
    ).all()
    cards = {
        model.id: model.card
        for model in session.scalars(
            select(ModelVersion).where(ModelVersion.id.in_({row.model_version_id for row in rows}))
        )
    }
    scores = []
    for model_id, card in sorted(cards.items()):
        own = [row for row in rows if row.model_version_id == model_id]
        n = sum(row.n for row in own)
        by_bin = {row.bin: row.n for row in own}
        scores.append(
            {
                "model": label_of(card),
                "weights_sha256": card["weights_sha256"],
                "threshold": card["threshold"],
                "n": n,
                "acceptable": sum(row.acceptable for row in own),
                "mean": sum(row.total for row in own) / n,
                "histogram": [by_bin.get(number, 0) for number in range(1, N_BINS + 1)],
            }
        )
    return scores


def _shadows(session: Session, period: Period) -> list[dict[str, Any]]:
    """Where models in the shadow disagree with the verdicts that decided."""
    shadow, deciding = aliased(Verdict), aliased(Verdict)
    rows = session.execute(
        select(
            ModelVersion.card,
            func.count().label("n"),
            func.count().filter(deciding.acceptable, ~shadow.acceptable).label("good_to_bad"),
            func.count().filter(~deciding.acceptable, shadow.acceptable).label("bad_to_good"),
            func.avg(func.abs(shadow.score - deciding.score)).label("mean_difference"),
        )
        .join_from(
            shadow,
            deciding,
            (deciding.attachment_id == shadow.attachment_id)
            & (deciding.origin == VerdictOrigin.INBOX)
            & period.may_be(deciding.id),
        )
        .join(ModelVersion, ModelVersion.id == shadow.model_version_id)
        .where(shadow.origin == VerdictOrigin.SHADOW, *period.of(shadow.created_at))
        .group_by(ModelVersion.id)
        .order_by(ModelVersion.id)
    ).all()
    return [
        {
            "model": label_of(row.card),
            "weights_sha256": row.card["weights_sha256"],
            "n": row.n,
            "good_to_bad": row.good_to_bad,
            "bad_to_good": row.bad_to_good,
            "disagreement": (row.good_to_bad + row.bad_to_good) / row.n,
            "mean_score_difference": float(row.mean_difference),
        }
        for row in rows
    ]


def _oldest_pending_seconds(session: Session) -> float | None:
    oldest = select(func.min(Message.received_at)).where(Message.current_decision_id.is_(None)).scalar_subquery()
    seconds = session.scalar(select(func.extract("epoch", func.clock_timestamp() - oldest)))
    return None if seconds is None else float(seconds)
