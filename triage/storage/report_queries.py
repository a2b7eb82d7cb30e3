"""The queries of reports about messages: outcomes, photos, errors, hours, times, people and the backlog.

Each query adds what archived threads left (`triage.storage.archived_counts`) to what it counts in the tables, except
those of times: a percentile cannot be divided into daily counts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, func, literal, or_, select, true, tuple_, union_all
from sqlalchemy.orm import Session

from triage.domain.card import UNTRAINED
from triage.domain.follow_up import Durations
from triage.domain.reporting import Dimension, Period
from triage.domain.states import ArchivedKind, AttachmentStatus, DecidedBy, Outcome, Reason, RetakeStatus
from triage.storage.archived_counts import TO_PASS, TO_RETAKE, archived, replaced_reason, utc_day, utc_hour
from triage.storage.report_sums import added, added_number, archived_by_label, archived_sum, id_since, within
from triage.storage.retake_requests import STATUS
from triage.storage.tables import (
    OPEN_REQUEST,
    PURGED,
    ArchivedCount,
    Attachment,
    Blob,
    Decision,
    Message,
    ModelVersion,
    RetakeRequest,
)

_PERCENTILES: Final = (0.5, 0.95, 0.99, 1.0)

_DECIDED: Final = Decision.id == Message.current_decision_id


@dataclass(frozen=True, slots=True)
class ReasonOverrides:
    """Messages whose model's decision has the same reason, and how many of them a person decided.

    Attributes:
        reason: of the model's decision; None for messages that a person decided first.
        decisions: number of messages.
        to_pass: those that a person decided to pass.
        to_retake: those for which a person requested a retake.
    """

    reason: str | None
    decisions: int
    to_pass: int
    to_retake: int

    @property
    def by_people(self) -> int:
        """Messages that a person decided."""
        return self.to_pass + self.to_retake

    @property
    def confirmed(self) -> int:
        """Those that the person decided as the model did. A reason belongs to one outcome."""
        if self.reason == Reason.PHOTO_PASSED:
            return self.to_pass
        return self.to_retake if self.reason == Reason.NO_PHOTO_PASSED else 0


def count_messages(
    session: Session, period: Period, groupings: Sequence[Sequence[Dimension]]
) -> list[list[dict[str, Any]]]:
    """Counts messages in several groupings at once, each by some dimensions, and reads the messages once.

    Returns:
        For each grouping its groups in order: a value for each dimension, `total`, a count for each outcome, and
        `pending`. A grouping without dimensions is a single group.
    """
    dimensions = sorted({dimension for by in groupings for dimension in by})
    present = (
        select(
            *_columns(dimensions, utc_day(Message.received_at), Message),
            Decision.outcome.label("outcome"),
            literal(1).label("n"),
        )
        .select_from(Message)
        .outerjoin(Decision, _DECIDED & id_since(Decision.id, period))
        .outerjoin(ModelVersion, ModelVersion.id == Decision.model_version_id)
        .where(*within(Message.received_at, period))
    )
    past = (
        select(
            *_columns(dimensions, ArchivedCount.day.expression, ArchivedCount),
            ArchivedCount.label.label("outcome"),
            ArchivedCount.n,
        )
        .outerjoin(ModelVersion, ModelVersion.id == ArchivedCount.model_version_id)
        .where(*archived(ArchivedKind.MESSAGES, period))
    )
    rows = union_all(present, past).subquery()
    keys = [rows.c[dimension.value] for dimension in dimensions]
    sets = {frozenset(by): [rows.c[dimension.value] for dimension in dimensions if dimension in by] for by in groupings}
    counts = [_sum(rows.c.n, rows.c.outcome == outcome).label(outcome.value) for outcome in Outcome]
    query = select(
        *keys,
        *(func.grouping(key).label(f"without_{key.name}") for key in keys),
        _sum(rows.c.n, true()).label("total"),
        *counts,
        _sum(rows.c.n, rows.c.outcome.is_(None)).label("pending"),
    ).group_by(func.grouping_sets(*(tuple_(*columns) for columns in sets.values())))
    found: dict[frozenset[Dimension], list[dict[str, Any]]] = {grouped: [] for grouped in sets}
    for row in session.execute(query).mappings():
        grouped = frozenset(each for each in dimensions if not row[f"without_{each.value}"])
        found[grouped].append(dict(row))
    return [_ordered(found[frozenset(by)], [dimension.value for dimension in by]) for by in groupings]


def _ordered(rows: Iterable[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    shown = (*keys, "total", *(outcome.value for outcome in Outcome), "pending")
    groups = [{name: row[name] for name in shown} for row in rows]
    return sorted(groups, key=lambda group: [(group[key] is None, group[key]) for key in keys])


def _sum(n: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[Any]:
    return cast(func.coalesce(func.sum(n).filter(condition), 0), BigInteger)


def count_photos(session: Session, period: Period) -> tuple[dict[str, int], dict[str, int]]:
    """Counts photos of messages: `total` and a count for each status, and those not assessable by error code."""
    present = (
        select(Attachment.status.label("status"), Attachment.error_code.label("code"), func.count().label("n"))
        .join(Message, Message.id == Attachment.message_id)
        .where(*within(Message.received_at, period), id_since(Attachment.id, period))
        .group_by(Attachment.status, Attachment.error_code)
    )
    is_error = ArchivedCount.kind == ArchivedKind.ERRORS
    past = select(
        case((~is_error, ArchivedCount.label)).label("status"),
        case((is_error, ArchivedCount.label)).label("code"),
        ArchivedCount.n,
    ).where(or_(*(and_(*archived(kind, period)) for kind in (ArchivedKind.PHOTOS, ArchivedKind.ERRORS))))
    statuses, codes = Counter[str](), Counter[str]()
    for row in session.execute(union_all(present, past)):
        if row.status is not None:
            statuses[row.status] += row.n
        if row.code is not None:
            codes[row.code] += row.n
    photos = {"total": statuses.total()} | {status.value: statuses[status] for status in AttachmentStatus}
    return photos, dict(sorted(codes.items()))


def count_by_hour(session: Session, period: Period) -> list[int]:
    """Counts messages by the hour of their receipt (UTC), from 0 to 23."""
    hour = utc_hour(Message.received_at)
    present = (
        select(hour.label("hour"), func.count().label("n")).where(*within(Message.received_at, period)).group_by(hour)
    )
    past = (
        select(ArchivedCount.bin.label("hour"), archived_sum().label("n"))
        .where(*archived(ArchivedKind.HOURS, period))
        .group_by(ArchivedCount.bin)
    )
    hours = {row["hour"]: int(row["n"]) for row in added(session, present, past, ["hour"])}
    return [hours.get(hour, 0) for hour in range(24)]


def times_to_decision(session: Session, period: Period) -> Durations | None:
    """The times from the receipt of messages to their first decision; None if no message is decided."""
    [durations] = _durations(
        session,
        [Decision.created_at - Message.received_at],
        select(Message.id)
        .join(Decision, (Decision.message_id == Message.id) & Decision.supersedes_id.is_(None))
        .where(*within(Message.received_at, period), id_since(Decision.id, period)),
    )
    return durations


def times_to_request(session: Session, period: Period) -> tuple[Durations | None, Durations | None]:
    """The times from the receipt of messages to their retake request, and to the record that it was sent."""
    to_request, to_sent = _durations(
        session,
        [RetakeRequest.created_at - Message.received_at, RetakeRequest.sent_at - Message.received_at],
        select(Message.id)
        .join(RetakeRequest, RetakeRequest.message_id == Message.id)
        .where(*within(Message.received_at, period), id_since(RetakeRequest.id, period)),
    )
    return to_request, to_sent


def _durations(session: Session, times: Sequence[ColumnElement[Any]], rows: Any) -> list[Durations | None]:
    seconds = [func.extract("epoch", time).label(f"time_{number}") for number, time in enumerate(times)]
    found = rows.with_only_columns(*seconds).subquery()
    columns = [
        column
        for time in found.c
        for column in (func.count(time), func.percentile_cont(list(_PERCENTILES)).within_group(time))
    ]
    row = session.execute(select(*columns)).one()
    return [Durations(n, *map(float, values)) if n else None for n, values in zip(row[::2], row[1::2], strict=True)]


def count_decided_by_people(session: Session, period: Period) -> list[ReasonOverrides]:
    """Counts the decided messages of a period by the reason of their last decision of a model, the most frequent first.

    A message that a person decided before any model has no such reason.
    """
    is_person = Decision.decided_by == DecidedBy.PERSON
    decisions = (
        select(
            case((is_person, replaced_reason()), else_=Decision.reason).label("reason"),
            case((is_person, Decision.outcome)).label("outcome"),
        )
        .select_from(Message)
        .join(Decision, _DECIDED)
        .where(*within(Message.received_at, period), id_since(Decision.id, period))
        .subquery()
    )
    by_person = [
        func.count().filter(decisions.c.outcome == outcome).label(f"to_{outcome.value}")
        for outcome in (Outcome.PASS, Outcome.RETAKE)
    ]
    present = select(decisions.c.reason, func.count().label("decisions"), *by_person).group_by(decisions.c.reason)
    kinds = (ArchivedKind.DECISION_REASONS, ArchivedKind.OVERRIDES)
    is_override = ArchivedCount.kind == ArchivedKind.OVERRIDES
    overridden = [
        _sum(ArchivedCount.n.expression, is_override & (ArchivedCount.bin == number)) for number in (TO_PASS, TO_RETAKE)
    ]
    past = (
        select(
            ArchivedCount.label.label("reason"),
            _sum(ArchivedCount.n.expression, true()).label("decisions"),
            *overridden,
        )
        .where(or_(*(and_(*archived(kind, period)) for kind in kinds)))
        .group_by(ArchivedCount.label)
    )
    rows = added(session, present, past, ["reason"])
    return [ReasonOverrides(**row) for row in sorted(rows, key=lambda row: -row["decisions"])]


def count_purged_photos(session: Session, period: Period) -> int:
    """Counts photos purged in the period."""
    present = select(func.count().label("n")).select_from(Blob).where(PURGED, *within(Blob.purged_at, period))
    return added_number(session, present, ArchivedKind.PURGED, period)


def count_forgotten_messages(session: Session, period: Period) -> int:
    """Counts messages forgotten in the period."""
    is_forgotten = [Message.forgotten_at.is_not(None), *within(Message.forgotten_at, period)]
    present = select(func.count().label("n")).select_from(Message).where(*is_forgotten)
    return added_number(session, present, ArchivedKind.FORGOTTEN, period)


def count_retake_requests(session: Session, period: Period) -> dict[str, int]:
    """Counts retake requests by status."""
    counts = [func.count().filter(STATUS.in_([each.value])).label(each.value) for each in RetakeStatus]
    present = select(*counts).where(*within(RetakeRequest.created_at, period))
    past = select(*archived_by_label(RetakeStatus)).where(*archived(ArchivedKind.REQUESTS, period))
    [row] = added(session, present, past)
    return row


def oldest_pending_seconds(session: Session) -> float | None:
    """The time since the receipt of the oldest message without a decision, or None if there is none."""
    oldest = select(func.min(Message.received_at)).where(Message.current_decision_id.is_(None)).scalar_subquery()
    seconds = session.scalar(select(func.extract("epoch", func.clock_timestamp() - oldest)))
    return None if seconds is None else float(seconds)


def count_undecided(session: Session) -> int:
    """The number of messages without a decision now."""
    return session.scalar(select(func.count()).select_from(Message).where(Message.current_decision_id.is_(None))) or 0


def count_unsent(session: Session) -> int:
    """The number of retake requests now that no sender has acknowledged."""
    return session.scalar(select(func.count()).select_from(RetakeRequest).where(OPEN_REQUEST)) or 0


def _columns(
    dimensions: Sequence[Dimension], day: ColumnElement[Any], table: type[Message] | type[ArchivedCount]
) -> list[ColumnElement[Any]]:
    columns: dict[Dimension, ColumnElement[Any]] = {
        Dimension.DAY: day,
        Dimension.SOURCE: table.source.expression,
        Dimension.ROLE: table.role.expression,
        Dimension.LOCALE: table.locale.expression,
        Dimension.FITZPATRICK: table.fitzpatrick.expression,
        Dimension.MODEL: _model_label(),
    }
    return [columns[dimension].label(dimension.value) for dimension in dimensions]


def _model_label() -> ColumnElement[Any]:
    trained = ModelVersion.card["trained"].astext == "true"  # a malformed card may hold anything
    return case((trained, ModelVersion.name), (ModelVersion.id.is_not(None), literal(UNTRAINED)))
