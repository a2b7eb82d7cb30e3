"""The queries that people and workers ask again and again, and which large tables each of them reads as a whole."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session

from triage.domain import MessageId, ModelVersionId, RetakeStatus
from triage.reports.explain import explain
from triage.reports.summary import Dimension, Period, summarise
from triage.storage import inbox, messages, outbox, retention, runs, verdicts
from triage.storage.gauges import read_gauges

LARGE_TABLES = frozenset({"thread", "message", "attachment", "blob", "verdict", "decision", "retake_request"})

Query = Callable[[Session], object]


def standard_queries(
    now: datetime, message: MessageId, message_name: str, model: ModelVersionId
) -> Mapping[str, Query]:
    """Named as in the printed table. The model is one that has judged nothing but in the shadow."""
    month = Period(now - timedelta(days=30))
    minutes = timedelta(minutes=5)
    next_batch = partial(verdicts.without_verdict, model_version_id=model, after=UUID(int=0), until=now, limit=32)
    return {
        "report of 30 days": lambda session: summarise(session, month),
        **{
            f"report of 30 days by {dimension}": partial(summarise, period=month, by=[dimension])
            for dimension in Dimension
        },
        "find a message by its sender's id": lambda session: messages.find_message(session, message_name),
        "explain a message": lambda session: explain(session, message),
        "metrics and health": lambda session: read_gauges(session, lease=minutes, stalled_after=minutes),
        "retakes list": lambda session: outbox.list_requests(session, status=None, limit=20),
        "retakes list --status withdrawn": lambda session: outbox.list_requests(
            session, status=RetakeStatus.WITHDRAWN, limit=20
        ),
        "wait": lambda session: inbox.count_open(session),
        "runs": lambda session: runs.list_runs(session),
        "rescoring: next batch": partial(next_batch, since=None),
        "rescoring: next batch since a day": partial(next_batch, since=month.since),
        "purge: next photos": lambda session: retention.mark_older_than(session, timedelta(days=365), limit=100),
    }


def tables_scanned(session: Session, query: Query) -> set[str]:
    """The large tables that any statement of a query reads from end to end, by the planner's word."""
    with _statements(session) as statements:
        query(session)
    cursor = session.connection().connection.cursor()
    scanned = set()
    for statement, parameters in statements:
        cursor.execute(f"EXPLAIN {statement}", parameters)
        scanned |= {table for (line,) in cursor.fetchall() for table in re.findall(r"Seq Scan on (\w+)", line)}
    return scanned & LARGE_TABLES


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
