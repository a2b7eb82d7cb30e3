"""Privileges of the database roles: the report role cannot write, and the worker cannot change history."""

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Final
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from tests.support.clinic import Clinic
from tests.support.command_line import Result
from triage.domain.ids import new_id
from triage.domain.messages import HeldRequest
from triage.domain.states import Outcome
from triage.retakes.override import override
from triage.storage import audit, outbox, roles
from triage.storage.database import Sessions, create_database_engine, create_sessions
from triage.storage.role_names import MIGRATOR, REPORT, WORKER
from triage.storage.roles import WORKER_MAY
from triage.storage.tables import METADATA
from worker.state_folder import StateFolder

TABLES = [*METADATA.tables, "alembic_version"]
HISTORY = ["verdict", "decision", "audit_event"]
OF_THE_OWNER: Final = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "DROP TABLE audit_event CASCADE",
    "ALTER TABLE decision DISABLE TRIGGER ALL",
    "ALTER TABLE message ADD COLUMN x int",
    "DROP TRIGGER decision_append_only ON decision",
    "SET session_replication_role = replica",
    "SET ROLE triage_migrator",
    "CREATE ROLE mine",
    "UPDATE audit_head SET hash = ''",
    "SELECT audit_hash(audit_event) FROM audit_event",
    "COPY message TO PROGRAM 'cat'",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
)


@pytest.fixture
def connect(embedded: StateFolder, database: str, engine: Engine) -> Iterator[Callable[[str], Engine]]:
    """Engines of the roles, in a database transferred to the migrator."""
    roles.create(engine)
    made: list[Engine] = []

    def as_role(role: str) -> Engine:
        made.append(create_database_engine(embedded.database_url(database, role=role)))
        return made[-1]

    yield as_role
    for each in made:
        each.dispose()


@pytest.fixture
def sessions(connect: Callable[[str], Engine]) -> Sessions:
    """A clinic that connects as the worker role."""
    return create_sessions(connect(WORKER))


def _refused(engine: Engine, statement: str) -> str | None:
    """The SQLSTATE of the error of a rejected statement."""
    try:
        with engine.begin() as connection:
            connection.execute(text(statement))
    except DBAPIError as error:
        return str(getattr(error.orig, "sqlstate", None))
    return None


def _all_refused(engine: Engine, statements: Iterable[str]) -> set[str]:
    """The SQLSTATEs of rejected statements."""
    states = {statement: _refused(engine, statement) for statement in statements}
    assert None not in states.values(), states
    return {str(state) for state in states.values()}


def test_privileges_are_declared_for_every_table() -> None:
    assert set(WORKER_MAY) == set(TABLES)


def test_privileges_on_every_table_equal_the_declared_ones(connect: Callable[[str], Engine], engine: Engine) -> None:
    query = """
        SELECT c.relname, r.role, p.privilege FROM pg_class c,
        unnest(ARRAY['triage_worker', 'triage_report']) r (role),
        unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p (privilege)
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
          AND has_table_privilege(r.role, c.oid, p.privilege)
    """
    columns = """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT a.attisdropped
          AND has_column_privilege(:role, c.oid, a.attnum, :privilege)
    """

    def columns_of(role: str, privilege: str) -> set[tuple[str, str]]:
        rows = connection.execute(text(columns), {"role": role, "privilege": privilege})
        return {(table, column) for table, column in rows}

    with engine.connect() as connection:
        whole = {tuple(row) for row in connection.execute(text(query))}
        updatable, insertable = columns_of(WORKER, "UPDATE"), columns_of(WORKER, "INSERT")
        by_report = columns_of(REPORT, "UPDATE") | columns_of(REPORT, "INSERT")
        owners = set(connection.scalars(text("SELECT tableowner FROM pg_tables WHERE schemaname = 'public'")))

    assert whole == {(table, WORKER, "DELETE") for table, may in WORKER_MAY.items() if may.delete}
    tables = [table for table, may in WORKER_MAY.items() if may.insert]
    assert insertable == {(table, column) for table in tables for column in roles.insertable(table)}
    assert not {column for _, column in insertable if column.endswith("_at")} - {"due_at", "expires_at", "finished_at"}
    assert updatable == {(table, column) for table, may in WORKER_MAY.items() for column in may.update}
    assert by_report == set()
    assert owners == {MIGRATOR}


def test_roles_have_no_administrative_attributes(connect: Callable[[str], Engine], engine: Engine) -> None:
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT count(*) FILTER (WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls), count(*) "
                "FROM pg_roles WHERE rolname LIKE 'triage\\_%'"
            )
        ).one()

    assert tuple(found) == (0, 3)


@pytest.mark.parametrize("role", [WORKER, REPORT])
def test_worker_and_report_roles_cannot_change_the_schema_or_history(
    connect: Callable[[str], Engine], clinic: Clinic, role: str
) -> None:
    assert _all_refused(connect(role), OF_THE_OWNER) == {"42501"}


def test_report_role_cannot_write(connect: Callable[[str], Engine]) -> None:
    engine = connect(REPORT)
    for table in TABLES:
        column = "version_num" if table == "alembic_version" else next(iter(METADATA.tables[table].columns)).name
        statements = (
            f"INSERT INTO {table} DEFAULT VALUES",
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
            f"SELECT {column} FROM {table} FOR UPDATE",
        )

        assert _all_refused(engine, statements) == {"42501"}
        assert _refused(engine, f"SELECT count(*) FROM {table}") is None


def test_report_role_cannot_read_uris_and_tokens(connect: Callable[[str], Engine]) -> None:
    columns = ("attachment.uri", "attachment.lease_token", "retake_request.lease_token", "run.lease_token")
    statements = [f"SELECT {column} FROM {column.partition('.')[0]}" for column in columns]

    assert _all_refused(connect(REPORT), statements) == {"42501"}


def test_worker_cannot_change_final_results(connect: Callable[[str], Engine], clinic: Clinic) -> None:
    clinic.send("asked", "0.2", thread="one")
    clinic.send("overridden", "0.9", thread="two")
    clinic.drain()
    with clinic.sessions.begin() as session:
        [request] = outbox.claim(session, limit=9, lease=timedelta(minutes=1), by="ehr")
        assert request.token
        assert outbox.acknowledge(session, [HeldRequest(request.id, request.token)])
    override(clinic.sessions, "overridden", Outcome.RETAKE, by="nurse-1", reason="another angle", policy=clinic.policy)

    statements = (
        "UPDATE message SET current_decision_id = NULL",
        "UPDATE message m SET current_decision_id = d.id FROM decision d WHERE d.message_id <> m.id",
        (
            "UPDATE message m SET current_decision_id = d.id FROM decision d "
            "WHERE d.message_id = m.id AND d.supersedes_id IS NULL AND m.external_id = 'overridden'"
        ),
        "UPDATE attachment SET status = 'pending', finished_at = NULL",
        "UPDATE attachment SET sha256 = repeat('0', 64)",
        "UPDATE retake_request SET status = 'flagged', sent_at = NULL",
        "UPDATE retake_request SET sent_at = now()",
    )
    assert _all_refused(connect(WORKER), statements) == {"23001"}


def test_decision_of_a_person_is_rejected_without_its_audit_event(
    connect: Callable[[str], Engine], clinic: Clinic
) -> None:
    """An event of another transaction, message, person or outcome does not count, nor one event for two decisions."""
    clinic.send("m-1", "0.2")
    clinic.drain()
    [(message, before)] = clinic.query("SELECT id, current_decision_id FROM message")
    engine = connect(WORKER)

    def event(of: UUID, *, actor: str = "nurse-1", subject: object = message, outcome: str = "pass") -> str:
        return (
            "INSERT INTO audit_event (id, actor, action, subject_kind, subject_id, details) VALUES "
            f"('{new_id()}', '{actor}', 'message.overridden', 'message', '{subject}', "
            f"jsonb_build_object('outcome', '{outcome}', 'decision', '{of}'));"
        )

    def decision(id_: UUID, supersedes: object = before) -> str:
        return (
            "INSERT INTO decision (id, message_id, supersedes_id, outcome, reason, decided_by, actor) "
            f"VALUES ('{id_}', '{message}', '{supersedes}', 'pass', 'override', 'person', 'nurse-1');"
        )

    first, second = new_id(), new_id()
    assert _refused(engine, event(first)) is None
    others = ("", event(first, actor="nurse-2"), event(first, subject=new_id()), event(first, outcome="retake"))
    for other in (*others, event(second)):
        assert _refused(engine, other + decision(first)) == "23001", other
    assert _refused(engine, f"SAVEPOINT s; {decision(first)} RELEASE s") == "23001"
    assert _refused(engine, event(first) + decision(first) + decision(second, supersedes=first)) == "23001"
    assert clinic.query("SELECT count(*) FROM decision WHERE decided_by = 'person'") == [(0,)]
    assert _refused(engine, decision(first) + event(first)) is None


def test_event_is_rejected_when_its_details_are_not_an_object(connect: Callable[[str], Engine]) -> None:
    """The role could not be a field of such details."""
    statement = (
        "INSERT INTO audit_event (id, actor, action, subject_kind, subject_id, details) VALUES "
        f"('{new_id()}', 'dr-1', 'test', 'test', '{new_id()}', '[]')"
    )

    assert _refused(connect(WORKER), statement) == "23514"


def test_event_records_the_role_that_appended_it(connect: Callable[[str], Engine], clinic: Clinic) -> None:
    """A role in the submitted details is overwritten."""
    subject = new_id()
    with create_sessions(connect(WORKER)).begin() as session:
        audit.record(session, actor="dr-1", action="test", subject_kind="test", subject_id=subject, role="superuser")

    with clinic.sessions() as session:
        assert audit.verify(session).flaws == []
        [event] = audit.events_of(session, subject)
    assert (event.actor, event.details) == ("dr-1", {"role": WORKER})


def test_worker_cannot_set_times_or_the_decision_of_a_new_row(connect: Callable[[str], Engine]) -> None:
    statements = (
        "INSERT INTO thread (id, source, external_id, archived_at) VALUES (gen_random_uuid(), 's', 'x', now())",
        (
            "INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out, received_at) "
            "SELECT gen_random_uuid(), 's', 'x', id, 'patient', 'en', false, '2020-01-01' FROM thread"
        ),
        (
            "INSERT INTO message (id, source, external_id, thread_id, role, locale, opted_out, current_decision_id) "
            "SELECT gen_random_uuid(), 's', 'x', thread.id, 'patient', 'en', false, decision.id FROM thread, decision"
        ),
        (
            "INSERT INTO retake_request (id, message_id, thread_id, decision_id, status, sent_at) "
            "SELECT gen_random_uuid(), id, thread_id, current_decision_id, 'sent', '2020-01-01' FROM message"
        ),
    )

    assert _all_refused(connect(WORKER), statements) == {"42501"}


def test_report_role_cannot_forget(connect: Callable[[str], Engine]) -> None:
    statement = f"SELECT forget_message('{new_id()}', '{new_id()}', 'me', 'x')"

    assert _refused(connect(REPORT), statement) == "42501"


def test_history_cannot_be_changed_or_deleted_by_any_role(
    connect: Callable[[str], Engine], clinic: Clinic, sessions: Sessions
) -> None:
    """The worker lacks the privilege, and a trigger rejects even the owner."""
    clinic.send("m-1", "0.2")
    clinic.drain()
    with sessions.begin() as session:
        audit.record(session, actor="nurse-1", action="test", subject_kind="message", subject_id=new_id())

    for role, sqlstate in ((WORKER, "42501"), (MIGRATOR, "23001"), ("postgres", "23001")):
        engine = connect(role)
        for table in HISTORY:
            statements = (f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE", f"UPDATE {table} SET id = id")
            assert _all_refused(engine, statements) == {sqlstate}, (role, table)


def test_verdict_changes_only_from_shadow_to_counting(connect: Callable[[str], Engine], clinic: Clinic) -> None:
    clinic.send("m-1", "0.2")
    clinic.drain()
    worker, owner = connect(WORKER), connect(MIGRATOR)

    assert _refused(worker, "UPDATE verdict SET acceptable = true") == "23001"
    assert _refused(worker, "UPDATE verdict SET score = 1") == "42501"
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE verdict DISABLE TRIGGER verdict_append_only"))
        connection.execute(text("UPDATE verdict SET origin = 'shadow'"))
        connection.execute(text("ALTER TABLE verdict ENABLE TRIGGER verdict_append_only"))
    assert _refused(owner, "UPDATE verdict SET origin = 'inbox', score = 1") == "23001"
    assert _refused(worker, "UPDATE verdict SET origin = 'inbox', acceptable = true") is None
    assert _refused(worker, "UPDATE verdict SET acceptable = false") == "23001"


def test_drain_runs_as_the_worker_role(clinic: Clinic, connect: Callable[[str], Engine]) -> None:
    clinic.send("good", "0.9")
    clinic.send("bad", "0.1", "a/0.2")
    clinic.send("unreadable", "unreadable")
    clinic.drain()

    with connect(WORKER).connect() as connection:
        assert connection.scalar(text("SELECT current_user")) == WORKER
    assert clinic.decisions("good") == [("pass", "photo_passed")]
    assert clinic.decisions("bad") == [("retake", "no_photo_passed")]
    assert clinic.decisions("unreadable") == [("not_assessable", "no_readable_photo")]
    assert clinic.requests() == [("bad", "flagged")]


def test_reports_and_histories_are_read_as_the_report_role(
    clinic: Clinic,
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    embedded: StateFolder,
    database: str,
) -> None:
    clinic.send("m-1", "0.1")
    clinic.drain()
    environment("DATABASE__URL", SecretStr(embedded.database_url(database, role=REPORT)).get_secret_value())

    first = triage("report", "--format", "json")
    assert first.err == ""
    assert first.json["messages"][Outcome.RETAKE.value] == 1
    assert triage("report", "--by", "day", "--by", "model", "--format", "html").code == 0
    story = triage("explain", "m-1", "--by", "doctor-3", "--json").json
    again = triage("explain", "m-1", "--json").json
    assert story["outcome"] == "retake"
    assert [(event["actor"], event["action"]) for event in again["audit"]] == [("doctor-3", "message.seen")]
    assert triage("models", "list", "--json").code == 0
    assert triage("runs", "--json").json == []
    assert triage("audit", "verify", "--json").json["ok"]
    refused = triage("override", "m-1", "--decision", "pass", "--by", "n-1", "--reason", "sharp")
    assert (refused.code, "role" in refused.complaint()) == (2, True)


def test_roles_command_prints_its_statements(triage: Callable[..., Result]) -> None:
    printed = triage("db", "roles", "--sql").out

    assert "CREATE ROLE triage_worker LOGIN NOSUPERUSER" in printed
    assert "PASSWORD" not in printed


def test_passwords_are_hashed_before_they_are_sent(
    triage: Callable[..., Result], environment: Callable[[str, str], None], database_url: str, engine: Engine
) -> None:
    environment("DATABASE__URL", database_url)
    environment("ROLES__REPORT_PASSWORD", "hunter%s2")

    assert triage("db", "roles").code == 0

    with engine.connect() as connection:
        stored = connection.scalar(text("SELECT rolpassword FROM pg_authid WHERE rolname = 'triage_report'"))
    assert str(stored).startswith("SCRAM-SHA-256$")
    assert "hunter" not in json.dumps(stored)


def test_upgrade_is_refused_when_the_worker_role_runs_it(triage: Callable[..., Result], engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))

    refused = triage("db", "upgrade")

    assert refused.code == 2
    assert "role" in refused.complaint()
