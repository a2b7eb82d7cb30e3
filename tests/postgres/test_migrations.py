"""Migrations on a real Postgres: upgrade, downgrade, upgrade; the result equals the declared schema."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from alembic import command
from alembic.util.exc import CommandError
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from tests.support.deployment import eventually
from triage.domain.ids import DecisionId, MessageId, new_id
from triage.domain.states import DecidedBy, Outcome, Reason
from triage.storage import audit, decisions, migrate
from triage.storage.database import Sessions
from triage.storage.decisions import NewDecision
from triage.storage.locks import wait_for_lock
from triage.storage.tables import METADATA


def test_schema_is_created_by_upgrade_and_removed_by_downgrade_repeatedly(empty_engine: Engine) -> None:
    declared = {*METADATA.tables, "alembic_version"}

    migrate.upgrade(empty_engine)
    assert set(inspect(empty_engine).get_table_names()) == declared
    assert migrate.is_current(empty_engine)

    migrate.downgrade(empty_engine, "base")
    assert set(inspect(empty_engine).get_table_names()) == {"alembic_version"}
    assert not migrate.is_current(empty_engine)
    with empty_engine.connect() as connection:
        left = connection.scalars(text("SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace")).all()
    assert left == []

    migrate.upgrade(empty_engine)
    command.check(migrate.alembic_config(empty_engine))


def test_alembic_check_fails_when_a_table_differs(engine: Engine) -> None:
    command.check(migrate.alembic_config(engine))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE message DROP COLUMN locale"))

    with pytest.raises(CommandError, match="locale"):
        command.check(migrate.alembic_config(engine))


def test_migrated_schema_equals_the_declared_one_including_checks_and_predicates(
    engine: Engine, empty_engine: Engine
) -> None:
    """`alembic check` compares neither check constraints nor predicates, so definitions in Postgres are compared."""
    METADATA.create_all(empty_engine)

    migrated, declared = _schema(engine), _schema(empty_engine)

    assert migrated == declared
    assert {kind for kind, *_ in declared} == {"column", "constraint", "index"}


def _schema(engine: Engine) -> set[tuple[str, str, str]]:
    """(kind, name, definition) of every column, constraint and index, without the table of Alembic."""
    query = """
        SELECT 'column', c.relname || '.' || a.attname,
               concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'
        UNION ALL
        SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' AND contype <> 't'
        UNION ALL
        SELECT 'index', indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """
    with engine.connect() as connection:
        return {(kind, name, definition) for kind, name, definition in connection.execute(text(query))}


def test_comment_of_every_index_names_its_query(engine: Engine) -> None:
    declared = {str(index.name): index.info["query"] for table in METADATA.tables.values() for index in table.indexes}
    comments = (
        "SELECT c.relname, obj_description(c.oid) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid "
        "WHERE c.relnamespace = 'public'::regnamespace AND NOT EXISTS "
        "(SELECT 1 FROM pg_constraint WHERE conindid = c.oid)"
    )
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(comments))]

    assert sorted(found) == sorted(declared.items())


def test_name_of_every_constraint_follows_the_convention(engine: Engine) -> None:
    query = (
        "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype NOT IN ('n', 't') "
        "AND conrelid <> 'alembic_version'::regclass"
    )
    with engine.connect() as connection:
        names = connection.scalars(text(query)).all()

    assert names
    assert [name for name in names if name[:3] not in {"pk_", "fk_", "uq_", "ck_"}] == []


@pytest.mark.parametrize("statement", ["UPDATE {table} SET id = id", "DELETE FROM {table}"])
@pytest.mark.parametrize("table", ["decision", "audit_event"])
def test_history_cannot_be_changed(
    make_history: Callable[[], None], sessions: Sessions, table: str, statement: str
) -> None:
    make_history()

    with pytest.raises(DBAPIError, match="append-only"), sessions.begin() as session:
        session.execute(text(statement.format(table=table)))


@pytest.fixture
def make_history(sessions: Sessions) -> Callable[[], None]:
    """Writes one decision and one audit event."""

    def make() -> None:
        thread, message = new_id(), new_id()
        with sessions.begin() as session:
            session.execute(
                text("INSERT INTO thread (id, source, external_id) VALUES (:id, 'ehr', 't')"), {"id": thread}
            )
            session.execute(
                text(
                    "INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out) "
                    "VALUES (:id, 'ehr', 'm', :thread, 'patient', 'en', false)"
                ),
                {"id": message, "thread": thread},
            )
            decision = NewDecision(
                id=DecisionId(new_id()),
                message_id=MessageId(message),
                supersedes_id=None,
                outcome=Outcome.PASS,
                reason=Reason.OVERRIDE,
                decided_by=DecidedBy.PERSON,
                actor="nurse-1",
            )
            decisions.append_decisions(session, [decision])
            audit.record(
                session,
                actor="nurse-1",
                action="message.overridden",
                subject_kind="message",
                subject_id=message,
                outcome="pass",
                decision=str(decision.id),
            )

    return make


def test_concurrent_upgrades_wait_for_each_other(empty_engine: Engine) -> None:
    """Longer than a migration waits for a table: the lock of the upgrades has no time limit."""
    url = empty_engine.url.render_as_string(hide_password=False)
    environment = os.environ | {"TRIAGE_DATABASE__URL": url}
    command = [sys.executable, "-c", "from worker.cli import main; main()", "db", "upgrade"]
    with ExitStack() as stack:
        with wait_for_lock(empty_engine, "the schema"):
            upgrades = [
                stack.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
                for _ in range(3)
            ]
            eventually(lambda: _n_waiting(empty_engine) == len(upgrades))
            time.sleep(5)
            assert _n_waiting(empty_engine) == len(upgrades)
        assert [upgrade.communicate()[1] for upgrade in upgrades] == [b""] * len(upgrades)
    assert [upgrade.returncode for upgrade in upgrades] == [0] * len(upgrades)
    assert migrate.is_current(empty_engine)


def _n_waiting(engine: Engine) -> int:
    with engine.connect() as connection:
        found = connection.scalars(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        return int(found.one())
