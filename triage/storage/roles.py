"""Database roles with minimal privileges: the migrator owns the tables, the worker uses them, the report role reads.

Only privileges granted here exist, apart from the owner's. Every upgrade grants them again, and a test requires an
entry for each table, so a new table cannot be forgotten.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from sqlalchemy import Connection, Engine, text

from triage.storage.database import SESSION_SETTINGS
from triage.storage.role_names import MIGRATOR, REPORT, ROLES, WORKER
from triage.storage.tables import DECISION_POSITION, METADATA

GRANT_LOCK: Final = 7216340002  # concurrent upgrades would change the same rows of the catalogue


@dataclass(frozen=True, slots=True)
class Rights:
    """Privileges of the worker on a table besides SELECT.

    Attributes:
        insert: INSERT into all columns except those of `NOT_INSERTED`.
        update: the columns that it may UPDATE.
        delete: DELETE.
    """

    insert: bool = True
    update: tuple[str, ...] = ()
    delete: bool = False


NOT_INSERTED: Final = frozenset(
    {
        *("at", "created_at", "received_at", "started_at", "heartbeat_at", "promoted_at"),
        *("sent_at", "withdrawn_at", "purged_at", "forgotten_at", "archived_at", "revoked_at"),
        *("first_attempt_at", "last_attempt_at", "answered_at", "seen_at", "ended_at", "disabled_at", "closed_at"),
        *("position", "previous_hash", "hash", "current_decision_id"),
    }
)
"""Columns that the database's clock or a trigger sets, or that are NULL in a new row: a worker cannot backdate rows."""

WORKER_MAY: Final[Mapping[str, Rights]] = {
    # locking a row requires UPDATE on a column; foreign keys keep a thread that has messages
    "thread": Rights(update=("id",), delete=True),
    "opt_out": Rights(delete=True),  # a person can take an opt-out back
    "message": Rights(update=("current_decision_id", "opted_out")),
    "origin": Rights(delete=True),
    "attachment": Rights(
        update=(
            "status",
            "attempts",
            "lost_leases",
            "storage_faults",
            "due_at",
            "lease_token",
            "lease_until",
            "error_code",
            "sha256",
            "media_type",
            "finished_at",
        )
    ),
    "blob": Rights(update=("media_type", "purge_after", "purged_at"), delete=True),
    "photo_store": Rights(insert=False, update=("marker", "set_up_at")),
    "model_version": Rights(update=("card", "stage", "promoted_at")),
    "run": Rights(
        update=(
            "status",
            "progress",
            "attempts",
            "lease_token",
            "lease_until",
            "heartbeat_at",
            "error",
            "started_at",
            "finished_at",
        )
    ),
    "verdict": Rights(
        update=("origin", "run_id", "threshold", "acceptable")
    ),  # a shadow verdict may become one that counts; a trigger rejects other changes
    "decision": Rights(update=("position",)),  # a trigger rejects a change of one that is set
    "retake_request": Rights(
        update=(
            "status",
            "claimed_by",
            "lease_token",
            "lease_until",
            "sent_at",
            "withdrawn_at",
            "withdrawn_reason",
            "answered_at",
            "revocable",
        )
    ),
    "request_review": Rights(),
    "api_client": Rights(
        update=("scopes", "key_sha256", "previous_key_sha256", "previous_key_until", "jwks", "jwks_url", "revoked_at")
    ),
    "api_token": Rights(delete=True),
    "used_assertion": Rights(delete=True),
    "waiting_message": Rights(
        update=("state", "reason", "model_version_id", "claimed_by", "lease_until", "claim_form", "assigned_to"),
        delete=True,
    ),
    "photo_review": Rights(update=("closed_at",)),
    "reviewed_photo": Rights(update=("place", "votes", "wanted", "claimed_by", "lease_until")),
    "photo_vote": Rights(update=("withdrawn_at",)),
    "staff": Rights(update=("role", "password_hash", "disabled_at")),
    "staff_session": Rights(update=("seen_at", "ended_at"), delete=True),
    "login_attempt": Rights(update=("attempts", "since"), delete=True),
    "delivery_target": Rights(update=("collects",), delete=True),
    "delivery": Rights(
        update=(
            "status",
            "attempts",
            "due_at",
            "lease_token",
            "error",
            "answer",
            "first_attempt_at",
            "last_attempt_at",
            "finished_at",
        ),
        delete=True,  # delivered events are kept for a month
    ),
    "assessment": Rights(update=("is_ready", "is_taken", "answer"), delete=True),  # exists while somebody waits
    "arrival_source": Rights(
        update=("known_until", "due_at", "lease_token", "announced", "failed", "subscription", "events")
    ),
    "arrival": Rights(
        update=("version", "announced", "status", "attempts", "due_at", "lease_token", "error", "finished_at"),
        delete=True,  # what was read is kept for a month
    ),
    "archived_count": Rights(),  # a purge keeps the count of photos whose rows it deletes
    "audit_event": Rights(),
    "audit_head": Rights(insert=False),
    "alembic_version": Rights(insert=False),
}

HIDDEN_FROM_REPORT: Final[Mapping[str, tuple[str, ...]]] = {
    "attachment": ("uri", "lease_token"),  # a URI can identify a patient, and a token authorises changes
    "origin": ("subject", "author", "encounter"),  # references to a patient
    "retake_request": ("lease_token",),
    "api_client": ("key_sha256", "previous_key_sha256"),
    "api_token": ("sha256",),
    "staff": ("password_hash", "subject"),
    "staff_session": ("sha256", "browser_sha256"),
    "login_attempt": ("sha256",),
    "run": ("lease_token",),
    "assessment": ("answer",),
    "delivery": ("lease_token",),
    "arrival_source": ("lease_token",),
    "arrival": ("lease_token",),
}

FUNCTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "refuse_change()": (),
    "keep_verdict()": (),
    "keep_decision()": (),
    "require_whole_thread()": (),
    "follow_decisions()": (),
    "announce_decision()": (),
    "keep_result()": (),
    "keep_request()": (),
    "require_audit_event()": (),
    "chain_audit_event()": (),
    "audit_hash(audit_event)": (),
    "record_view(uuid, uuid, text)": (WORKER, REPORT),
    "forget_message(uuid, uuid, text, text)": (WORKER,),
}
"""The roles that may call each function. The functions called directly run as the owner and write an audit event."""


def creation(database: str) -> list[str]:
    """The statements that create the roles and transfer a database to the migrator, for a superuser to run or read.

    They are idempotent. Existing tables and functions of the product get the migrator as owner.
    """
    roles = ", ".join(ROLES)
    name = sql.Identifier(database).as_string()
    return [
        *(_CREATE_ROLE.format(role=role) for role in ROLES),
        *(
            f"ALTER ROLE {role} IN DATABASE {name} SET {setting} = '{value}'"
            for role in ROLES
            for setting, value in SESSION_SETTINGS.items()
        ),
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {roles}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        f"GRANT USAGE, CREATE ON SCHEMA public TO {MIGRATOR}",
        f"REVOKE ALL ON SCHEMA public FROM {WORKER}, {REPORT}",
        f"GRANT USAGE ON SCHEMA public TO {WORKER}, {REPORT}",
        _HAND_OVER.format(
            migrator=MIGRATOR,
            tables=", ".join(f"'{table}'" for table in WORKER_MAY),
            functions=", ".join(f"'{function.partition('(')[0]}'" for function in FUNCTIONS),
        ),
    ]


_CREATE_ROLE: Final = """DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
    ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}'
                  AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)) THEN
        RAISE EXCEPTION 'role {role} exists with more privileges than allowed'
            USING ERRCODE = 'invalid_role_specification';
    END IF;
END
$$"""

_HAND_OVER: Final = """DO $$
DECLARE
    thing regclass;
    called regprocedure;
BEGIN
    FOR thing IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                 AND relname IN ({tables}) AND relowner <> '{migrator}'::regrole LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO {migrator}', thing);
    END LOOP;
    FOR called IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                  AND proname IN ({functions}) AND proowner <> '{migrator}'::regrole LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO {migrator}', called);
    END LOOP;
END
$$"""


def create(engine: Engine, passwords: Mapping[str, str] | None = None) -> None:
    """Creates the roles, transfers the database to the migrator and grants each role its privileges. Idempotent.

    Args:
        engine: connected as a superuser to the database of the product.
        passwords: by role. They are hashed here, so the server and its log never see them. A role without a password
            keeps its current one; a new role can then connect only if the server requires no password.
    """
    with engine.begin() as connection:
        _take_turns(connection)
        for statement in creation(str(engine.url.database)):
            _run(connection, statement)
        for role, password in (passwords or {}).items():
            _set_password(connection, role, password)
        _grant(connection)


def grant(engine: Engine) -> None:
    """Grants each role its privileges on the tables. Has no effect if the tables or the roles do not exist."""
    with engine.begin() as connection:
        _take_turns(connection)
        _grant(connection)


def grants() -> Iterator[str]:
    """The statements that revoke all privileges of the roles and grant the intended ones."""
    named = ", ".join(WORKER_MAY)
    yield f"REVOKE ALL ON {named} FROM PUBLIC, {WORKER}, {REPORT}"
    yield f"GRANT SELECT ON {named} TO {WORKER}"
    for table, rights in WORKER_MAY.items():
        if rights.insert:
            yield f"GRANT INSERT ({', '.join(insertable(table))}) ON {table} TO {WORKER}"
        if rights.update:
            yield f"GRANT UPDATE ({', '.join(rights.update)}) ON {table} TO {WORKER}"
        if rights.delete:
            yield f"GRANT DELETE ON {table} TO {WORKER}"
        columns = _shown(table)
        yield f"GRANT SELECT{f' ({columns})' if columns else ''} ON {table} TO {REPORT}"
    yield f"REVOKE ALL ON SEQUENCE {DECISION_POSITION.name} FROM PUBLIC, {WORKER}, {REPORT}"
    yield f"GRANT USAGE, SELECT ON SEQUENCE {DECISION_POSITION.name} TO {WORKER}"
    for function, callers in FUNCTIONS.items():
        yield f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC, {WORKER}, {REPORT}"
        if callers:
            yield f"GRANT EXECUTE ON FUNCTION {function} TO {', '.join(callers)}"


def insertable(table: str) -> list[str]:
    """The columns that the worker may set in a new row of a table."""
    return [column.name for column in METADATA.tables[table].columns if column.name not in NOT_INSERTED]


def _shown(table: str) -> str:
    """The columns that the report role may read, or an empty string for all."""
    if table not in HIDDEN_FROM_REPORT:
        return ""
    columns = (column.name for column in METADATA.tables[table].columns)
    return ", ".join(name for name in columns if name not in HIDDEN_FROM_REPORT[table])


def _grant(connection: Connection) -> None:
    tables_are_there = connection.scalar(text("SELECT to_regclass('public.audit_head') IS NOT NULL"))
    found: Any = connection.scalars(
        text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)"), {"roles": list(ROLES)}
    ).all()
    if tables_are_there and set(found) == set(ROLES):
        for statement in grants():
            _run(connection, statement)


def _take_turns(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": GRANT_LOCK})


def _set_password(connection: Connection, role: str, password: str) -> None:
    driver: Any = connection.connection.driver_connection
    hashed = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(hashed))
    _run(connection, statement.as_string())


def _run(connection: Connection, statement: str) -> None:
    connection.execution_options(no_parameters=True).exec_driver_sql(statement)  # no parameters, so `%` is literal
