"""Regular queries of people and workers use an index on every large table that they read."""

from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from benchmarks.queries import LARGE_TABLES, standard_queries, tables_scanned
from tests.support.clinic import Clinic
from triage.domain.ids import MessageId, ModelVersionId, new_id
from triage.storage.tables import Message

ANY_MODEL = ModelVersionId(new_id())
NAMES = standard_queries(datetime.now(UTC), MessageId(new_id()), "", live=ANY_MODEL, shadow=ANY_MODEL)


@pytest.mark.parametrize("name", NAMES)
def test_query_scans_no_large_table(clinic: Clinic, name: str) -> None:
    """The tables are small here, so sequential scans are disabled for the planner."""
    clinic.send("m-1", "0.2", "0.9")
    clinic.drain()
    with clinic.sessions() as session:
        session.execute(text("SET enable_seqscan = off"))
        message = MessageId(session.scalars(select(Message.id)).one())
        live = clinic.assessor.model_version_id
        query = standard_queries(datetime.now(UTC), message, "m-1", live=live, shadow=ANY_MODEL)[name]

        assert tables_scanned(session, query) == set()


def test_scan_is_detected_when_a_query_has_no_index(clinic: Clinic) -> None:
    with clinic.sessions() as session:
        session.execute(text("SET enable_seqscan = off"))
        for table in LARGE_TABLES:
            scan = text(f"SELECT count(*) FROM {table} WHERE xmin::text = '1'")
            assert tables_scanned(session, partial(Session.execute, statement=scan)) == {table}
