"""Frequent queries of people and workers, and the large tables that each one scans completely."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.orm import Session

from triage.domain.ids import LeaseToken, MessageId, ModelVersionId, PhotoReviewId, RetakeRequestId, first_id
from triage.domain.messages import HeldRequest
from triage.domain.photo_reviews import SamplingRule
from triage.domain.queue import Place
from triage.domain.reporting import Dimension, Period
from triage.domain.states import Reason, RetakeStatus, WaitingState
from triage.reports.explain import history
from triage.reports.summary import summarise
from triage.storage import (
    feed,
    inbox,
    messages,
    outbox,
    photo_reviews,
    photo_votes,
    queue,
    request_reviews,
    retake_requests,
    retention,
    runs,
    verdicts,
)
from triage.storage.gauges import read_gauges
from triage.storage.queue import Selection
from triage.storage.tables import METADATA

LARGE_TABLES = frozenset(
    {"thread", "message", "attachment", "blob", "verdict", "decision", "retake_request", "delivery", "waiting_message"}
)

Query = Callable[[Session], object]

# without a filter and a place, the first rows of an index are read, which looks like a scan of all
_SELECTIONS = {
    "of a source": Selection(source="ehr"),
    "of a person": Selection(assigned_to="staff:dr-1"),
    "of a reason": Selection(reason=Reason.NEAR_THRESHOLD),
    "in a state": Selection(state=WaitingState.APPEALED),
    "of a model": Selection(model=ModelVersionId(UUID(int=1))),
    "of a source and a reason": Selection(source="ehr", reason=Reason.NEAR_THRESHOLD, older_than=timedelta(hours=4)),
}


def _first_page(session: Session, selection: Selection) -> object:
    return queue.list_waiting(session, selection, after=None, limit=50), queue.count(session, selection)


def standard_queries(
    now: datetime, message: MessageId, message_name: str, *, live: ModelVersionId, shadow: ModelVersionId
) -> Mapping[str, Query]:
    """Queries by their name in the printed table. `live` has scored every photo, `shadow` only the latest."""
    month = Period(now - timedelta(days=30))
    minutes = timedelta(minutes=5)
    look = partial(verdicts.without_verdict, until=now, limit=32)
    a_month_ago = first_id(now - timedelta(days=30))
    return {
        "report of 30 days": lambda session: summarise(session, month),
        **{
            f"report of 30 days by {dimension}": partial(summarise, period=month, by=[dimension])
            for dimension in Dimension
        },
        "sample of requests to review": lambda session: request_reviews.draw(session, month, seed=0, n=381),
        "sample of requests of a source to review": lambda session: request_reviews.draw(
            session, month, seed=0, n=381, sources=["ehr"]
        ),
        "find a message by its sender's id": lambda session: messages.find_message(session, message_name),
        "explain a message": lambda session: history(session, message),
        "metrics and health": lambda session: read_gauges(session, lease=minutes, stalled_after=minutes),
        "retakes list": lambda session: retake_requests.list_requests(session, status=None, limit=20),
        "retakes list --status withdrawn": lambda session: retake_requests.list_requests(
            session, status=RetakeStatus.WITHDRAWN, limit=20
        ),
        "decisions: a page": lambda session: feed.decisions_after(session, 1, limit=20),
        "decisions: positions for new ones": lambda session: feed.number_decisions(session, limit=20),
        "claim for one source": lambda session: outbox.claim(
            session, limit=20, lease=minutes, by="ehr", sources=["ehr"]
        ),
        "acknowledge": lambda session: outbox.acknowledge(
            session, [HeldRequest(RetakeRequestId(UUID(int=1)), LeaseToken(UUID(int=1)))]
        ),
        **{f"queue: {name}": partial(_first_page, selection=selection) for name, selection in _SELECTIONS.items()},
        "queue: a page after a place": lambda session: queue.list_waiting(
            session, Selection(), after=Place(now, message), limit=50
        ),
        "queue: claim the oldest of a source": lambda session: queue.claim_oldest(
            session, Selection(source="ehr"), by="dr-1", lease=minutes
        ),
        "queue: the message of a form": lambda session: queue.claimed_by_form(session, UUID(int=1), by="dr-1"),
        "queue: sources": queue.sources,
        "queue: models": queue.models,
        "photo review: the next photo": lambda session: photo_votes.claim_next(
            session, PhotoReviewId(UUID(int=1)), by="dr-1", lease=minutes
        ),
        "photo review: the photos of a message": lambda session: photo_votes.under_review(session, message),
        "photo review: draw photos": lambda session: photo_reviews.draw(session, SamplingRule(100, month)),
        "wait": lambda session: inbox.count_open(session),
        "runs": lambda session: runs.list_runs(session),
        "rescoring: next batch": partial(look, model_version_id=shadow, after=a_month_ago, since=None),
        "rescoring: next batch, --since": partial(look, model_version_id=shadow, after=a_month_ago, since=month.since),
        "rescoring: a look at judged photos": partial(look, model_version_id=live, after=a_month_ago, since=None),
        "rescoring: a look at purged photos": partial(look, model_version_id=shadow, after=UUID(int=0), since=None),
        "purge: next photos": lambda session: retention.mark_older_than(session, timedelta(days=365), limit=100),
    }


def tables_scanned(session: Session, query: Query) -> set[str]:
    """Returns the large tables that any statement of a query scans completely, by the query plan.

    An index scan without a condition counts as a full scan, unless the index is small or a limit stops it.
    """
    with _statements(session) as statements:
        query(session)
    indexes: dict[str, str] = {
        row.name: row.relation for row in session.execute(_INDEXES) if row.name not in _OF_FEW_ROWS
    }
    cursor = session.connection().connection.cursor()
    scanned: set[str] = set()
    for statement, parameters in statements:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        [(plans,)] = cursor.fetchall()
        scanned.update(_scanned(plans[0]["Plan"], indexes, limited=False))
    return scanned & LARGE_TABLES


_INDEXES = text("SELECT indexrelid::regclass::text AS name, indrelid::regclass::text AS relation FROM pg_index")
_OF_FEW_ROWS = {
    index.name
    for table in METADATA.tables.values()
    for index in table.indexes
    if index.dialect_options["postgresql"]["where"] is not None
    and index.name not in {"ix_blob__unmarked", "ix_blob__purged_at", "ix_verdict__run_id"}
}
_READ_ALL_FIRST = {"Sort", "Aggregate", "Hash", "Bitmap Heap Scan", "Materialize"}


def _scanned(node: Mapping[str, Any], indexes: Mapping[str, str], *, limited: bool) -> Iterator[str]:
    kind = node["Node Type"]
    limited = kind == "Limit" or (limited and kind not in _READ_ALL_FIRST)
    if kind == "Seq Scan":
        yield node["Relation Name"]
    elif node.get("Index Name") in indexes and "Index Cond" not in node and ("Filter" in node or not limited):
        yield indexes[node["Index Name"]]
    for child in node.get("Plans", []):
        yield from _scanned(child, indexes, limited=limited)


@contextmanager
def _statements(session: Session) -> Iterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)
