"""The queries of reports: counts of a period, scores by model, shadow models and flips.

Each query adds what archived threads left (`triage.storage.archived_counts`) to what it counts in the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Double, Select, case, cast, func, literal, select, true, union_all
from sqlalchemy.orm import Session, aliased

from triage.domain.card import UNTRAINED
from triage.domain.ids import RunId, first_id
from triage.domain.reporting import Dimension, Period
from triage.domain.states import ArchivedKind, AttachmentStatus, DecidedBy, Outcome, RetakeStatus, VerdictOrigin
from triage.storage.archived_counts import FAILED, archived, likeliest_reason, score_bin, utc_day
from triage.storage.outbox import STATUS
from triage.storage.tables import (
    PURGED,
    ArchivedCount,
    Attachment,
    Blob,
    Decision,
    Message,
    ModelVersion,
    RetakeRequest,
    Verdict,
)

_Counts: TypeAlias = Select[*tuple[Any, ...]]


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
    keys = _groups(by, utc_day(Message.received_at), Message)
    counts = [func.count().filter(Decision.outcome == outcome).label(outcome.value) for outcome in Outcome]
    present = (
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
    )
    keys = _groups(by, ArchivedCount.day.expression, ArchivedCount)
    past = (
        select(*keys, _archived().label("total"), *_archived_by_label(Outcome), literal(0).label("pending"))
        .outerjoin(ModelVersion, ModelVersion.id == ArchivedCount.model_version_id)
        .where(*archived(ArchivedKind.MESSAGES, period))
        .group_by(*keys)
    )
    return _added(session, present, past, [dimension.value for dimension in by])


def count_photos(session: Session, period: Period) -> dict[str, int]:
    """Counts photos of messages: `total`, and a count for each status."""
    counts = [func.count().filter(Attachment.status == status).label(status.value) for status in AttachmentStatus]
    present = (
        select(func.count().label("total"), *counts)
        .join(Message, Message.id == Attachment.message_id)
        .where(*_within(Message.received_at, period), _id_since(Attachment.id, period))
    )
    past = select(_archived().label("total"), *_archived_by_label(AttachmentStatus))
    [row] = _added(session, present, past.where(*archived(ArchivedKind.PHOTOS, period)))
    return row


def count_errors(session: Session, period: Period) -> dict[str, int]:
    """Counts photos that are not assessable by error code."""
    present = (
        select(Attachment.error_code.label("code"), func.count().label("n"))
        .join(Message, Message.id == Attachment.message_id)
        .where(
            Attachment.error_code.is_not(None),
            *_within(Message.received_at, period),
            _id_since(Attachment.id, period),
        )
        .group_by(Attachment.error_code)
    )
    past = select(ArchivedCount.label.label("code"), _archived().label("n")).group_by(ArchivedCount.label)
    rows = _added(session, present, past.where(*archived(ArchivedKind.ERRORS, period)), ["code"])
    return {row["code"]: row["n"] for row in rows}


def count_reasons(session: Session, period: Period) -> dict[str, int]:
    """Counts photos that failed by their likeliest reason, the most frequent first."""
    present = (
        select(likeliest_reason().label("reason"), func.count().label("n"))
        .where(*FAILED, *_within(Verdict.created_at, period))
        .group_by(likeliest_reason())
    )
    past = select(ArchivedCount.label.label("reason"), _archived().label("n")).group_by(ArchivedCount.label)
    rows = _added(session, present, past.where(*archived(ArchivedKind.REASONS, period)), ["reason"])
    return {row["reason"]: row["n"] for row in sorted(rows, key=lambda row: -row["n"])}


def count_purged_photos(session: Session, period: Period) -> int:
    """Counts photos purged in the period."""
    present = select(func.count().label("n")).select_from(Blob).where(PURGED, *_within(Blob.purged_at, period))
    return _added_number(session, present, ArchivedKind.PURGED, period)


def count_forgotten_messages(session: Session, period: Period) -> int:
    """Counts messages forgotten in the period."""
    is_forgotten = [Message.forgotten_at.is_not(None), *_within(Message.forgotten_at, period)]
    present = select(func.count().label("n")).select_from(Message).where(*is_forgotten)
    return _added_number(session, present, ArchivedKind.FORGOTTEN, period)


def count_retake_requests(session: Session, period: Period) -> dict[str, int]:
    """Counts retake requests by status."""
    counts = [func.count().filter(STATUS.in_([each.value])).label(each.value) for each in RetakeStatus]
    present = select(*counts).where(*_within(RetakeRequest.created_at, period))
    past = select(*_archived_by_label(RetakeStatus)).where(*archived(ArchivedKind.REQUESTS, period))
    [row] = _added(session, present, past)
    return row


def count_overrides(session: Session, period: Period) -> int:
    """Counts messages whose current decision a person made."""
    present = (
        select(func.count().label("n"))
        .select_from(Message)
        .join(Decision, Decision.id == Message.current_decision_id)
        .where(
            Decision.decided_by == DecidedBy.PERSON,
            *_within(Message.received_at, period),
            _id_since(Decision.id, period),
        )
    )
    return _added_number(session, present, ArchivedKind.OVERRIDES, period)


def scores_by_model(session: Session, period: Period) -> list[ModelScores]:
    """The scores of each model in `N_BINS` bins, in the order of registration."""
    bin_ = score_bin().label("bin")
    present = (
        select(
            Verdict.model_version_id,
            bin_,
            func.count().label("n"),
            func.sum(Verdict.score).label("total"),
            func.count().filter(Verdict.acceptable).label("acceptable"),
        )
        .where(*_within(Verdict.created_at, period))
        .group_by(Verdict.model_version_id, bin_)
    )
    past = (
        select(
            ArchivedCount.model_version_id,
            ArchivedCount.bin,
            _archived().label("n"),
            func.sum(ArchivedCount.total).label("total"),
            _archived("acceptable").label("acceptable"),
        )
        .where(*archived(ArchivedKind.SCORES, period))
        .group_by(ArchivedCount.model_version_id, ArchivedCount.bin)
    )
    rows = _added(session, present, past, ["model_version_id", "bin"])
    return [
        ModelScores(
            card,
            [
                ScoreBin(row["bin"], row["n"], row["total"], row["acceptable"])
                for row in rows
                if row["model_version_id"] == model_id
            ],
        )
        for model_id, card in _cards(session, rows).items()
    ]


def compare_shadows(session: Session, period: Period) -> list[ShadowComparison]:
    """Compares the verdicts of each shadow model with those that decided."""
    shadow, deciding = aliased(Verdict), aliased(Verdict)
    present: _Counts = (
        select(
            shadow.model_version_id,
            func.count().label("n"),
            func.count().filter(deciding.acceptable, ~shadow.acceptable).label("good_to_bad"),
            func.count().filter(~deciding.acceptable, shadow.acceptable).label("bad_to_good"),
            func.sum(func.abs(shadow.score - deciding.score, type_=Double())).label("difference"),
        )
        .join_from(
            shadow,
            deciding,
            (deciding.attachment_id == shadow.attachment_id)
            & (deciding.origin == VerdictOrigin.INBOX)
            & _id_since(deciding.id, period),
        )
        .where(shadow.origin == VerdictOrigin.SHADOW, *_within(shadow.created_at, period))
        .group_by(shadow.model_version_id)
    )
    past = (
        select(
            ArchivedCount.model_version_id,
            _archived().label("n"),
            *_archived_flips(),
            func.sum(ArchivedCount.total).label("difference"),
        )
        .where(*archived(ArchivedKind.SHADOWS, period))
        .group_by(ArchivedCount.model_version_id)
    )
    rows = _added(session, present, past, ["model_version_id"])
    cards = _cards(session, rows)
    return [
        ShadowComparison(
            cards[row["model_version_id"]],
            row["n"],
            row["good_to_bad"],
            row["bad_to_good"],
            row["difference"] / row["n"],
        )
        for row in rows
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
    day = utc_day(Message.received_at).label("day")
    present = (
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
    )
    past = (
        select(ArchivedCount.day, ArchivedCount.source, _archived().label("photos"), *_archived_flips())
        .where(ArchivedCount.run_id == run_id)
        .group_by(ArchivedCount.day, ArchivedCount.source)
    )
    return _added(session, present, past, ["day", "source"])


def _cards(session: Session, rows: Sequence[dict[str, Any]]) -> dict[UUID, dict[str, Any]]:
    """The cards of the models of some rows, in the order of registration."""
    ids = {row["model_version_id"] for row in rows}
    models = select(ModelVersion.id, ModelVersion.card).where(ModelVersion.id.in_(ids)).order_by(ModelVersion.id)
    return {row.id: row.card for row in session.execute(models)}


def _added(session: Session, present: _Counts, past: _Counts, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Adds up the rows of two queries that have the same columns, in groups by some, in their order."""
    rows = union_all(present, past).subquery()
    groups = [rows.c[key] for key in keys]
    sums = [cast(func.sum(column), column.type).label(column.name) for column in rows.c if column.name not in keys]
    query = select(*groups, *sums).group_by(*groups).order_by(*groups)
    return [dict(row) for row in session.execute(query).mappings()]


def _added_number(session: Session, present: _Counts, kind: ArchivedKind, period: Period) -> int:
    [row] = _added(session, present, select(_archived().label("n")).where(*archived(kind, period)))
    return int(row["n"])


def _archived(label: str | None = None) -> ColumnElement[int]:
    """The sum of archived counts, of those with this label or of all."""
    count = func.sum(ArchivedCount.n)
    chosen = count if label is None else count.filter(ArchivedCount.label == label)
    return cast(func.coalesce(chosen, 0), BigInteger)


def _archived_by_label(labels: type[StrEnum]) -> list[ColumnElement[int]]:
    return [_archived(label).label(label) for label in labels]


def _archived_flips() -> list[ColumnElement[int]]:
    return [_archived(name).label(name) for name in ("good_to_bad", "bad_to_good")]


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


def _groups(
    by: Sequence[Dimension], day: ColumnElement[Any], table: type[Message] | type[ArchivedCount]
) -> list[ColumnElement[Any]]:
    columns = {
        Dimension.DAY: day,
        Dimension.SOURCE: table.source.expression,
        Dimension.ROLE: table.role.expression,
        Dimension.MODEL: _model_label(),
    }
    return [columns[dimension].label(dimension.value) for dimension in by]


def _model_label() -> ColumnElement[Any]:
    trained = ModelVersion.card["trained"].as_boolean()
    return case((trained, ModelVersion.name), (ModelVersion.id.is_not(None), literal(UNTRAINED)))
