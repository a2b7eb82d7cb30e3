"""Stored scores and decisions of a period as arrays, for a replay.

Postgres aggregates each column to one array, whose elements have a fixed width and are not null. So a whole period
becomes a few arrays of numpy, without an object for each row. An array can have 50 million elements.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy.orm import Session

from triage.domain.ids import ModelVersionId, first_id, last_id
from triage.domain.states import DecidedBy, Outcome, Reason, RetakeStatus, ReviewKind, VerdictOrigin

Rows = Mapping[str, NDArray[Any]]
"""Columns of equal length, by name."""
OUTCOMES: Final = tuple(Outcome)
REASONS: Final = tuple(Reason)
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Times are in microseconds since then, as Postgres stores them."""

_SOON: Final = timedelta(days=1)
_LONG: Final = timedelta(days=1)
_NOT_MERGED: Final = ("enable_nestloop", "enable_hashjoin")
_WHOLE_TABLES: Final = ("enable_hashjoin", "enable_mergejoin")
"""What the planner avoids in periods of at least `_LONG`. It assumes that ranges of ids and the period are independent,
so it expects one row of a hundred, and would join a million rows one by one. Hash tables of such rows would be larger
than a processor's cache: sorting and merging takes two thirds of the time."""
_ALL: Final = sql.SQL("true")

_HEADER_BYTES: Final = 20
_TYPES: Final = {"uuid": "V16", "time": ">i8", "int": ">i4", "big": ">i8", "float": ">f8"}
_PARTS: Final = {
    "message": "uuid",
    "thread": "uuid",
    "at": "time",
    "opted_out": "int",
    "outcome": "int",
    "reason": "int",
    "group": "big",
    "model": "int",
    "first": "time",
    "n": "int",
    "scored": "int",
    "missing": "int",
    "best": "float",
    "margin": "float",
}
_REQUESTS: Final = {"message": "uuid", "thread": "uuid", "at": "time", "void": "time", "by_person": "int"}
_LABELS: Final = {"message": "uuid", "is_good": "int", "is_appealed": "int"}


def read_parts(
    session: Session,
    since: datetime,
    until: datetime,
    models: Sequence[UUID],
    *,
    candidate: ModelVersionId | None = None,
) -> Rows:
    """What each model decision of the messages of a period rested on.

    Args:
        session: of any role.
        since, until: the period of receipt, without its end.
        models: whose position in this list is `model`.
        candidate: use all scores of this model instead of those that decided.

    Returns:
        For each decision, group of photos and model a row with `message`, `thread`, `at` (of the decision),
        `opted_out`, `outcome` and `reason` (positions in `OUTCOMES` and `REASONS`), `group` (a hash), `model` (-1 for
        photos without a score), `first` (receipt of the first photo), `n` photos, `scored` ones, `missing` ones (the
        candidate has not scored them), the `best` score, and the largest `margin` of a score over the threshold of its
        verdict; both are -inf without a score.
    """
    query = partial(_parts, since=since, until=until, models=models, candidate=candidate)
    first = sql.Literal(first_id(since))
    all_scores = sql.SQL("verdict.id >= {}").format(first)
    if until - since < _LONG:
        return _columns(session, query(scores=all_scores), _PARTS)
    # nearly all decisions follow soon, so that ranges of ids hold their photos and scores
    soon = until + _SOON
    last = sql.Literal(last_id(soon))
    decided_soon = query(
        decisions=sql.SQL("decision.created_at < {} AND decision.id < {}").format(sql.Literal(soon), last),
        photos=sql.SQL("attachment.id < {}").format(last),
        scores=sql.SQL("verdict.attachment_id >= {} AND verdict.attachment_id < {}").format(first, last),
    )
    decided_later = query(
        decisions=sql.SQL("decision.created_at >= {} AND decision.id >= {} AND decision.message_id < {}").format(
            sql.Literal(soon), sql.Literal(first_id(soon)), sql.Literal(last_id(until))
        ),
        scores=all_scores,
    )
    return joined(
        _columns(session, decided_soon, _PARTS, avoiding=_NOT_MERGED),
        _columns(session, decided_later, _PARTS, avoiding=_WHOLE_TABLES),
    )


def _parts(
    *,
    since: datetime,
    until: datetime,
    models: Sequence[UUID],
    candidate: ModelVersionId | None,
    scores: sql.Composable,
    decisions: sql.Composable = _ALL,
    photos: sql.Composable = _ALL,
) -> sql.Composed:
    """The query of `read_parts` for some decisions, with conditions that name ranges of ids."""
    if candidate:
        verdict = sql.SQL("verdict.model_version_id = {}").format(sql.Literal(candidate))
        counts = sql.SQL("verdict.id IS NOT NULL")
    else:
        verdict = sql.SQL("verdict.origin = {}").format(sql.Literal(VerdictOrigin.INBOX.value))
        # of one verdict at most: the join has no condition on its time, and can merge photos and verdicts by their ids
        counts = sql.SQL("verdict.created_at <= decision.created_at")
    return sql.SQL(
        """
        SELECT message.id, message.thread_id, decision.created_at, message.opted_out::int4,
               array_position({outcomes}, decision.outcome) - 1, array_position({reasons}, decision.reason) - 1,
               coalesce(hashtextextended(attachment.photo_group, 0), 0),
               coalesce(array_position({models}, {model}), 0) - 1,
               min(attachment.created_at), count(*)::int4, (count(verdict.score) FILTER (WHERE {counts}))::int4,
               (count(*) FILTER (WHERE ({counts}) IS NOT TRUE AND attachment.status = 'scored'))::int4,
               coalesce(max(verdict.score) FILTER (WHERE {counts}), '-inf'),
               coalesce(max(verdict.score - verdict.threshold) FILTER (WHERE {counts}), '-inf')
        FROM attachment
        LEFT JOIN verdict ON verdict.attachment_id = attachment.id AND {verdict} AND {scores}
        JOIN decision ON decision.message_id = attachment.message_id AND decision.id >= {first_id}
            AND decision.decided_by = {by_model} AND {decisions} AND attachment.created_at <= decision.created_at
        JOIN message ON message.id = decision.message_id
        WHERE attachment.id >= {first_id} AND {photos}
            AND message.received_at >= {since} AND message.received_at < {until}
        GROUP BY message.id, decision.id, attachment.photo_group, {model}
        """
    ).format(
        outcomes=_texts([each.value for each in OUTCOMES]),
        reasons=_texts([each.value for each in REASONS]),
        models=sql.SQL("{}::uuid[]").format(sql.Literal([str(each) for each in models])),
        by_model=sql.Literal(DecidedBy.MODEL.value),
        first_id=sql.Literal(first_id(since)),
        decisions=decisions,
        photos=photos,
        scores=scores,
        verdict=verdict,
        counts=counts,
        model=sql.SQL("CASE WHEN {} THEN verdict.model_version_id END").format(counts),
        since=sql.Literal(since),
        until=sql.Literal(until),
    )


def joined(*rows: Rows) -> Rows:
    """The rows of one or more periods after each other."""
    return {name: np.concatenate([each[name] for each in rows]) for name in rows[0]}


def read_requests(session: Session, since: datetime, until: datetime) -> Rows:
    """All retake requests flagged before the end of a period: `message`, `thread`, `at`, `by_person` and `void`.

    A request limits later ones from `at` until `void`: the time of its withdrawal, unless a sender had claimed it.
    `by_person` is 0 for requests before the period.
    """
    query = sql.SQL(
        """
        SELECT retake_request.message_id, retake_request.thread_id, retake_request.created_at,
               CASE WHEN status = {withdrawn} AND claimed_by IS NULL THEN withdrawn_at ELSE 'infinity' END,
               (decision.id IS NOT NULL)::int4
        FROM retake_request LEFT JOIN decision ON decision.id = retake_request.decision_id
            AND decision.id >= {first_id} AND decision.decided_by = {person}
        WHERE retake_request.created_at < {until}
        """
    ).format(
        withdrawn=sql.Literal(RetakeStatus.WITHDRAWN.value),
        first_id=sql.Literal(first_id(since)),
        person=sql.Literal(DecidedBy.PERSON.value),
        until=sql.Literal(until),
    )
    return _columns(session, query, _REQUESTS)


def read_labels(session: Session, since: datetime, until: datetime) -> Rows:
    """What people said about the photos of messages of a period.

    Returns:
        `message`, `is_good` (1: good enough, 0: to be taken again, -1: nothing is said) and `is_appealed`. Reviews of a
        request say it by majority; without a review, the person does whose decision on the message holds. Messages
        received shortly before or after the period can be among them.
    """
    query = sql.SQL(
        """
        WITH asked AS (
            SELECT retake_request.message_id AS id,
                   avg(needless::int) FILTER (WHERE kind = {review}) AS needless,
                   bool_or(kind = {appeal}) AS is_appealed
            FROM request_review JOIN retake_request ON retake_request.id = request_review.request_id
            WHERE retake_request.message_id >= {first_id} AND retake_request.message_id < {last_id}
            GROUP BY retake_request.message_id
        ), decided AS (
            SELECT message.id, decision.outcome = {passed} AS is_good
            FROM message JOIN decision ON decision.id = message.current_decision_id AND decision.id >= {first_id}
            WHERE decision.decided_by = {person} AND message.received_at >= {since} AND message.received_at < {until}
        )
        SELECT id, coalesce((asked.needless > 0.5)::int4, decided.is_good::int4, -1), coalesce(is_appealed, false)::int4
        FROM asked FULL JOIN decided USING (id)
        """
    ).format(
        review=sql.Literal(ReviewKind.REVIEW.value),
        appeal=sql.Literal(ReviewKind.APPEAL.value),
        passed=sql.Literal(Outcome.PASS.value),
        first_id=sql.Literal(first_id(since)),
        last_id=sql.Literal(last_id(until)),
        person=sql.Literal(DecidedBy.PERSON.value),
        since=sql.Literal(since),
        until=sql.Literal(until),
    )
    return _columns(session, query, _LABELS)


def read_hashes(session: Session, messages: Sequence[UUID]) -> dict[UUID, frozenset[str]]:
    """The hashes of the photos of these messages."""
    with _cursor(session) as cursor:
        rows = cursor.execute(
            "SELECT message_id, array_agg(sha256) FILTER (WHERE sha256 IS NOT NULL) FROM attachment "
            "WHERE message_id = ANY(%s) GROUP BY message_id",
            [list(messages)],
        )
        return {message: frozenset(hashes or ()) for message, hashes in rows}


def _columns(session: Session, query: sql.Composed, kinds: dict[str, str], *, avoiding: Sequence[str] = ()) -> Rows:
    """Runs a query whose columns have fixed widths and no nulls, and returns each as an array."""
    names = sql.SQL(", ").join(map(sql.Identifier, kinds))
    arrays = sql.SQL(", ").join(sql.SQL("array_agg({})").format(sql.Identifier(name)) for name in kinds)
    with _cursor(session, binary=True) as cursor:
        cursor.execute("SET LOCAL work_mem = '128MB'")  # joins of whole periods in memory
        # with parallel workers, one process would still build all groups and arrays: callers split the period instead
        cursor.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        for method in dict.fromkeys((*_NOT_MERGED, *_WHOLE_TABLES)):
            cursor.execute(f"SET LOCAL {method} = {'off' if method in avoiding else 'on'}")
        cursor.execute(sql.SQL("SELECT {} FROM ({}) AS rows ({})").format(arrays, query, names))
        values = [cursor.pgresult.get_value(0, place) or b"" for place in range(len(kinds))]
    return {name: _array(value, kind) for (name, kind), value in zip(kinds.items(), values, strict=True)}


def _array(value: bytes, kind: str) -> NDArray[Any]:
    """A one-dimensional array in Postgres' binary format: a header, then each element behind its length."""
    elements = np.frombuffer(value[_HEADER_BYTES:], [("length", ">i4"), ("value", _TYPES[kind])])["value"]
    return elements.astype(elements.dtype.newbyteorder("="))


def _cursor(session: Session, *, binary: bool = False) -> Any:
    """A cursor of psycopg, since SQLAlchemy makes an object of each value."""
    return session.connection().connection.cursor(binary=binary)


def _texts(values: Sequence[str]) -> sql.Composed:
    return sql.SQL("{}::text[]").format(sql.Literal(list(values)))
