"""What archived threads leave in the tables: daily counts, so that reports on past days keep their numbers.

The counts are taken in the transaction that deletes the rows. Nothing changes in an archived thread, so they need no
correction.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final

from sqlalchemy import ColumnElement, Date, Select, SmallInteger, Text, case, cast, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from triage.domain.ids import ThreadId
from triage.domain.reporting import Period
from triage.domain.states import ArchivedKind, DecidedBy, FindingKind, Outcome, VerdictOrigin
from triage.storage.review_flags import request_reason, review_flags
from triage.storage.tables import ArchivedCount, Attachment, Decision, Message, RetakeRequest, Verdict

FAILED: Final = (Verdict.origin == VerdictOrigin.INBOX, ~Verdict.acceptable)
"""Verdicts that counted and failed: those whose reasons are reported."""

TO_PASS: Final = 1
TO_RETAKE: Final = 2
"""The bins of archived overrides: what a person decided."""

N_BINS: Final = 10
"""Number of equal bins of scores over [0, 1]. Stored counts have these bins, so all reports do."""


def keep_counts(session: Session, threads: Sequence[ThreadId]) -> None:
    """Stores the counts of threads. The caller holds their locks and deletes their rows in the same transaction."""
    for kind, query in _counts_of(threads):
        _add(session, kind, (dict(row) for row in session.execute(query).mappings()))


def keep_count(session: Session, kind: ArchivedKind, moments: Sequence[datetime]) -> None:
    """Stores how many events of a kind happened on each day (UTC)."""
    days = Counter(moment.astimezone(UTC).date() for moment in moments)
    _add(session, kind, ({"day": day, "n": n} for day, n in sorted(days.items())))


def archived(kind: ArchivedKind, period: Period) -> list[ColumnElement[bool]]:
    """Conditions on an archived count: its kind, and that its whole day lies in the period."""
    whole = [ArchivedCount.kind == kind]
    if period.since:
        since = period.since.astimezone(UTC)
        day = since.date()
        whole.append(ArchivedCount.day >= day if since.time() == time() else ArchivedCount.day > day)
    if period.until:
        whole.append(ArchivedCount.day < period.until.astimezone(UTC).date())
    return whole


def count_messages(session: Session, period: Period) -> int:
    """The number of archived messages that a report on this period counts."""
    messages = select(func.coalesce(func.sum(ArchivedCount.n), 0)).where(*archived(ArchivedKind.MESSAGES, period))
    return int(session.scalars(messages).one())


def days_left_out(session: Session, period: Period) -> list[date]:
    """The days that lie in the period in part and have archived counts, which a report on the period cannot divide."""
    ends = [end.astimezone(UTC) for end in (period.since, period.until) if end is not None]
    divided = {end.date() for end in ends if end.time() != time()}
    days = select(ArchivedCount.day).where(ArchivedCount.kind.in_(list(ArchivedKind)), ArchivedCount.day.in_(divided))
    return list(session.scalars(days.distinct().order_by(ArchivedCount.day))) if divided else []


def utc_day(moment: Any) -> ColumnElement[date]:
    """The day (UTC) of a column of times."""
    return cast(func.timezone("UTC", moment), Date)


def utc_hour(moment: Any) -> ColumnElement[int]:
    """The hour (UTC) of a column of times, from 0."""
    return cast(func.extract("hour", func.timezone("UTC", moment)), SmallInteger)


def replaced_reason() -> ColumnElement[str]:
    """The reason of the model's decision that a person's decision of the same message replaced last, or NULL."""
    earlier = aliased(Decision)
    return (
        select(earlier.reason)
        .where(earlier.message_id == Decision.message_id, earlier.decided_by != DecidedBy.PERSON)
        .order_by(earlier.id.desc())
        .limit(1)
        .scalar_subquery()
    )


def score_bin() -> ColumnElement[int]:
    """The bin of a verdict's score, from 1."""
    return func.least(func.width_bucket(Verdict.score, 0.0, 1.0, N_BINS), N_BINS)


def likeliest_reason() -> ColumnElement[str]:
    """The kind of the first finding of a verdict."""
    # without parameters: Postgres groups by an expression only if it is the selected one
    return literal_column(f"coalesce(verdict.findings -> 0 ->> 'kind', '{FindingKind.NO_CLEAR_REASON}')", Text())


def _add(session: Session, kind: ArchivedKind, rows: Iterable[dict[str, Any]]) -> None:
    session.add_all([ArchivedCount(kind=kind, **row) for row in rows])
    session.flush()


def _counts_of(threads: Sequence[ThreadId]) -> Iterator[tuple[ArchivedKind, Select[Any]]]:
    """What to count of these threads: the days and groups by which reports count."""
    chosen = Message.thread_id == func.any(list(threads))
    day = utc_day(Message.received_at)
    decided = Decision.id == Message.current_decision_id
    yield (
        ArchivedKind.MESSAGES,
        _count(
            day=day,
            source=Message.source,
            role=Message.role,
            locale=Message.locale,
            fitzpatrick=Message.fitzpatrick,
            model_version_id=Decision.model_version_id,
            label=Decision.outcome,
        )
        .join_from(Message, Decision, decided)
        .where(chosen),
    )
    is_person = Decision.decided_by == DecidedBy.PERSON
    outcome = case((Decision.outcome == Outcome.PASS, TO_PASS), else_=TO_RETAKE)
    overrides = _count(day=day, label=replaced_reason(), bin=outcome).join_from(Message, Decision, decided)
    yield ArchivedKind.OVERRIDES, overrides.where(chosen, is_person)
    reasons = _count(day=day, label=Decision.reason).join_from(Message, Decision, decided)
    yield ArchivedKind.DECISION_REASONS, reasons.where(chosen, ~is_person)
    yield ArchivedKind.HOURS, _count(day=day, bin=utc_hour(Message.received_at)).where(chosen)
    forgotten = _count(day=utc_day(Message.forgotten_at))
    yield ArchivedKind.FORGOTTEN, forgotten.where(chosen, Message.forgotten_at.is_not(None))
    of_message = Attachment.message_id == Message.id
    photos = _count(day=day, label=Attachment.status).join_from(Message, Attachment, of_message)
    yield ArchivedKind.PHOTOS, photos.where(chosen)
    errors = _count(day=day, label=Attachment.error_code).join_from(Message, Attachment, of_message)
    yield ArchivedKind.ERRORS, errors.where(chosen, Attachment.error_code.is_not(None))
    requests = _count(day=utc_day(RetakeRequest.created_at), label=RetakeRequest.status)
    yield ArchivedKind.REQUESTS, requests.where(RetakeRequest.thread_id == func.any(list(threads)))
    reviews = _count(
        day=utc_day(RetakeRequest.created_at),
        source=Message.source,
        fitzpatrick=Message.fitzpatrick,
        label=request_reason(),
        bin=review_flags(),
    )
    reviews = reviews.join_from(RetakeRequest, Message, Message.id == RetakeRequest.message_id).join(Decision, decided)
    yield ArchivedKind.REVIEWS, reviews.where(RetakeRequest.thread_id == func.any(list(threads)))
    yield from _counts_of_verdicts(chosen, of_message)


def _counts_of_verdicts(
    chosen: ColumnElement[bool], of_message: ColumnElement[bool]
) -> Iterator[tuple[ArchivedKind, Select[Any]]]:
    scores = _count(
        func.sum(Verdict.score),
        day=utc_day(Verdict.created_at),
        model_version_id=Verdict.model_version_id,
        label=case((Verdict.acceptable, "acceptable"), else_="unacceptable"),
        bin=score_bin(),
    )
    yield (
        ArchivedKind.SCORES,
        scores.select_from(Verdict)
        .join(Attachment, Attachment.id == Verdict.attachment_id)
        .join(Message, of_message)
        .where(chosen),
    )
    reasons = _count(day=utc_day(Verdict.created_at), source=Message.source, label=likeliest_reason())
    yield (
        ArchivedKind.REASONS,
        reasons.select_from(Verdict)
        .join(Attachment, Attachment.id == Verdict.attachment_id)
        .join(Message, of_message)
        .where(chosen, *FAILED),
    )
    deciding = aliased(Verdict)
    is_deciding = (deciding.attachment_id == Verdict.attachment_id) & (deciding.origin == VerdictOrigin.INBOX)
    flip = case(
        (deciding.acceptable & ~Verdict.acceptable, "good_to_bad"),
        (~deciding.acceptable & Verdict.acceptable, "bad_to_good"),
    )
    shadows = _count(
        func.sum(func.abs(Verdict.score - deciding.score)),
        day=utc_day(Verdict.created_at),
        model_version_id=Verdict.model_version_id,
        label=flip,
    )
    flips = _count(day=utc_day(Message.received_at), source=Message.source, run_id=Verdict.run_id, label=flip)
    for kind, query, compared in (
        (ArchivedKind.SHADOWS, shadows, Verdict.origin == VerdictOrigin.SHADOW),
        (ArchivedKind.FLIPS, flips, Verdict.run_id.is_not(None)),
    ):
        yield (
            kind,
            query.select_from(Verdict)
            .join(deciding, is_deciding)
            .join(Attachment, Attachment.id == Verdict.attachment_id)
            .join(Message, of_message)
            .where(chosen, compared),
        )


def _count(total: ColumnElement[Any] | None = None, **groups: Any) -> Select[Any]:
    """Counts rows in groups, and adds up a total. The names are those of the columns of `ArchivedCount`."""
    keys = [column.label(name) for name, column in groups.items()]
    totals = [] if total is None else [total.label("total")]
    return select(*keys, func.count().label("n"), *totals).group_by(*keys)
