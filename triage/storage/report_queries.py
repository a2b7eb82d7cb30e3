"""The queries of reports: counts of a period, scores by model, shadow models and flips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Date, case, cast, func, literal, select, true
from sqlalchemy.orm import Session, aliased

from triage.domain.card import UNTRAINED
from triage.domain.ids import RunId, first_id
from triage.domain.reporting import Dimension, Period
from triage.domain.states import AttachmentStatus, DecidedBy, Outcome, RetakeStatus, VerdictOrigin
from triage.storage.outbox import STATUS
from triage.storage.tables import PURGED, Attachment, Blob, Decision, Message, ModelVersion, RetakeRequest, Verdict


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """The verdicts of a model in one bin of scores.

    Attributes:
        number: of the bin, from 1.
        n: number of verdicts.
        total: sum of their scores.
        acceptable: number of acceptable verdicts.
    """

    number: int
    n: int
    total: float
    acceptable: int


@dataclass(frozen=True, slots=True)
class ModelScores:
    """The score bins of a model that are not empty, and its card."""

    card: dict[str, Any]
    bins: Sequence[ScoreBin]


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """The verdicts of a shadow model compared with those that decided.

    Attributes:
        card: of the shadow model.
        n: number of photos with both verdicts.
        good_to_bad: photos acceptable to the deciding model only.
        bad_to_good: photos acceptable to the shadow model only.
        mean_difference: mean absolute difference of the scores.
    """

    card: dict[str, Any]
    n: int
    good_to_bad: int
    bad_to_good: int
    mean_difference: float


def count_messages(session: Session, period: Period, by: Sequence[Dimension] = ()) -> list[dict[str, Any]]:
    """Counts messages in groups by dimensions, in the order of the groups.

    Returns:
        For each group a value for each dimension, `total`, a count for each outcome, and `pending`. A single group
        without dimensions if `by` is empty.
    """
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
        .outerjoin(Decision, (Decision.id == Message.current_decision_id) & _id_since(Decision.id, period))
        .outerjoin(ModelVersion, ModelVersion.id == Decision.model_version_id)
        .where(*_within(Message.received_at, period))
        .group_by(*keys)
        .order_by(*keys)
    )
    return [dict(row) for row in session.execute(query).mappings()]


def count_photos(session: Session, period: Period) -> dict[str, int]:
    """Counts photos of messages: `total`, and a count for each status."""
    counts = [func.count().filter(Attachment.status == status).label(status.value) for status in AttachmentStatus]
    row = session.execute(
        select(func.count().label("total"), *counts)
        .join(Message, Message.id == Attachment.message_id)
        .where(*_within(Message.received_at, period), _id_since(Attachment.id, period))
    ).one()
    return dict(row._mapping)


def count_errors(session: Session, period: Period) -> dict[str, int]:
    """Counts photos that are not assessable by error code."""
    rows = session.execute(
        select(Attachment.error_code, func.count())
        .join(Message, Message.id == Attachment.message_id)
        .where(
            Attachment.error_code.is_not(None),
            *_within(Message.received_at, period),
            _id_since(Attachment.id, period),
        )
        .group_by(Attachment.error_code)
        .order_by(Attachment.error_code)
    )
    return {code: count for code, count in rows if code is not None}


def count_purged_photos(session: Session, period: Period) -> int:
    """Counts photos purged in the period. The row of an unreferenced photo is kept for a day only."""
    query = select(func.count()).select_from(Blob).where(PURGED, *_within(Blob.purged_at, period))
    return session.scalar(query) or 0


def count_forgotten_messages(session: Session, period: Period) -> int:
    """Counts messages forgotten in the period."""
    query = select(func.count()).where(Message.forgotten_at.is_not(None), *_within(Message.forgotten_at, period))
    return session.scalar(query) or 0


def count_retake_requests(session: Session, period: Period) -> dict[str, int]:
    """Counts retake requests by status."""
    counts = [func.count().filter(STATUS.in_([each.value])).label(each.value) for each in RetakeStatus]
    row = session.execute(select(*counts).where(*_within(RetakeRequest.created_at, period))).one()
    return dict(row._mapping)


def count_overrides(session: Session, period: Period) -> int:
    """Counts messages whose current decision a person made."""
    query = (
        select(func.count())
        .select_from(Message)
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(
            Decision.decided_by == DecidedBy.PERSON,
            *_within(Message.received_at, period),
            _id_since(Decision.id, period),
        )
    )
    return session.scalar(query) or 0


def scores_by_model(session: Session, period: Period, *, n_bins: int) -> list[ModelScores]:
    """The scores of each model in equal bins over [0, 1], in the order of registration."""
    bin_ = func.least(func.width_bucket(Verdict.score, 0.0, 1.0, n_bins), n_bins)
    rows = session.execute(
        select(
            Verdict.model_version_id,
            bin_.label("bin"),
            func.count().label("n"),
            func.sum(Verdict.score).label("total"),
            func.count().filter(Verdict.acceptable).label("acceptable"),
        )
        .where(*_within(Verdict.created_at, period))
        .group_by(Verdict.model_version_id, bin_)
    ).all()
    models = session.scalars(
        select(ModelVersion)
        .where(ModelVersion.id.in_({row.model_version_id for row in rows}))
        .order_by(ModelVersion.id)
    )
    return [
        ModelScores(
            model.card,
            [ScoreBin(row.bin, row.n, row.total, row.acceptable) for row in rows if row.model_version_id == model.id],
        )
        for model in models
    ]


def compare_shadows(session: Session, period: Period) -> list[ShadowComparison]:
    """Compares the verdicts of each shadow model with those that decided."""
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
            & _id_since(deciding.id, period),
        )
        .join(ModelVersion, ModelVersion.id == shadow.model_version_id)
        .where(shadow.origin == VerdictOrigin.SHADOW, *_within(shadow.created_at, period))
        .group_by(ModelVersion.id)
        .order_by(ModelVersion.id)
    )
    return [
        ShadowComparison(row.card, row.n, row.good_to_bad, row.bad_to_good, float(row.mean_difference)) for row in rows
    ]


def oldest_pending_seconds(session: Session) -> float | None:
    """The time since the receipt of the oldest message without a decision, or None if there is none."""
    oldest = select(func.min(Message.received_at)).where(Message.current_decision_id.is_(None)).scalar_subquery()
    seconds = session.scalar(select(func.extract("epoch", func.clock_timestamp() - oldest)))
    return None if seconds is None else float(seconds)


def count_flips(session: Session, run_id: RunId) -> list[dict[str, Any]]:
    """Compares the verdicts of a rescoring run with those of the inbox, by day of receipt (UTC) and source.

    Returns:
        `{day, source, photos, good_to_bad, bad_to_good}`, in that order of groups.
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
    return [dict(row) for row in rows.mappings()]


def _within(column: Any, period: Period) -> list[ColumnElement[bool]]:
    """Conditions on a column of times: it lies in the period."""
    after = [column >= period.since] if period.since else []
    before = [column < period.until] if period.until else []
    return [*after, *before]


def _id_since(id_column: Any, period: Period) -> ColumnElement[bool]:
    """Condition on an id: it is not older than the period.

    It holds for all rows that belong to a message of the period, if clocks agree to `CLOCKS_AGREE`. The planner cannot
    infer it, and reads a short range of the primary key instead of all rows.
    """
    return id_column >= first_id(period.since) if period.since else true()


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
