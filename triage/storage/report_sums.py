"""What the queries of reports share: conditions on a period, and sums over present rows and archived counts."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, select, true, union_all
from sqlalchemy.orm import Session

from triage.domain.ids import first_id
from triage.domain.reporting import Period
from triage.domain.states import ArchivedKind
from triage.storage.archived_counts import archived
from triage.storage.tables import ArchivedCount

Counts: TypeAlias = Select[*tuple[Any, ...]]


def added(session: Session, present: Counts, past: Counts, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Adds up the rows of two queries that have the same columns, in groups by some, in their order."""
    rows = union_all(present, past).subquery()
    groups = [rows.c[key] for key in keys]
    sums = [cast(func.sum(column), column.type).label(column.name) for column in rows.c if column.name not in keys]
    query = select(*groups, *sums).group_by(*groups).order_by(*groups)
    return [dict(row) for row in session.execute(query).mappings()]


def added_number(session: Session, present: Counts, kind: ArchivedKind, period: Period) -> int:
    """Adds up one number and its archived counts."""
    [row] = added(session, present, select(archived_sum().label("n")).where(*archived(kind, period)))
    return int(row["n"])


def archived_sum(label: str | None = None) -> ColumnElement[int]:
    """The sum of archived counts, of those with this label or of all."""
    count = func.sum(ArchivedCount.n)
    chosen = count if label is None else count.filter(ArchivedCount.label == label)
    return cast(func.coalesce(chosen, 0), BigInteger)


def archived_by_label(labels: type[StrEnum]) -> list[ColumnElement[int]]:
    """The sum of archived counts for each label."""
    return [archived_sum(label).label(label) for label in labels]


def archived_flips() -> list[ColumnElement[int]]:
    """The sum of archived flips for each direction."""
    return [archived_sum(name).label(name) for name in ("good_to_bad", "bad_to_good")]


def within(column: Any, period: Period) -> list[ColumnElement[bool]]:
    """Conditions on a column of times: it lies in the period."""
    after = [column >= period.since] if period.since else []
    before = [column < period.until] if period.until else []
    return [*after, *before]


def id_since(id_column: Any, period: Period) -> ColumnElement[bool]:
    """Condition on an id: it is not older than the period.

    It holds for all rows that belong to a message of the period, if clocks agree to `CLOCKS_AGREE`. The planner cannot
    infer it, and reads a short range of the primary key instead of all rows.
    """
    return id_column >= first_id(period.since) if period.since else true()
