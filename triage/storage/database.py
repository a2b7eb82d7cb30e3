"""Connections to Postgres: engine, sessions, translation of driver errors, retries of transactions."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    TableValuedAlias,
    bindparam,
    column,
    create_engine,
    event,
    func,
    make_url,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from triage.domain.limits import POOL_SIZE
from triage.errors import (
    DatabaseUnavailableError,
    DefectError,
    Fault,
    InvalidDatabaseUrlError,
    UsageError,
)
from triage.storage.faults import of_cursor, translated

Result = TypeVar("Result")
Sessions = sessionmaker[Session]

SESSION_SETTINGS: Final = {
    "timezone": "UTC",
    "lock_timeout": "30s",
    "idle_in_transaction_session_timeout": "60s",
}
"""Of every connection. The roles have them too, for a pooler that drops what a client sets at its start."""

_PAUSE_SECONDS: Final = 0.5


def create_database_engine(url: str, *, pool_size: int = POOL_SIZE, connect_timeout_seconds: int = 5) -> Engine:
    """An engine that detects dead connections, is named in `pg_stat_activity` and ends idle transactions.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: number of connections kept open; the same number again may be opened temporarily.
        connect_timeout_seconds: time to wait for a server that does not respond.

    Raises:
        InvalidDatabaseUrlError: the URL is malformed.
    """
    return create_engine(
        _checked_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=connect_timeout_seconds,
        hide_parameters=True,  # error texts never contain values of rows
        json_serializer=partial(json.dumps, default=str),
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "application_name": "triage",
            "client_encoding": "utf8",  # a database in SQL_ASCII would send bytes
            "options": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items()),
            "prepare_threshold": None,  # a pooler may run the next transaction in a session without the statement
            # detects a lost server, for example after a failover, within a minute, also during a statement
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        },
    )


def _checked_url(url: str) -> URL:
    """Parses a database URL as the driver does when it connects. No error contains any part of it."""
    try:
        parsed = make_url(url)
        if parsed.drivername != "postgresql+psycopg":
            raise ValueError("another driver")
        arguments, options = parsed.get_dialect()().create_connect_args(parsed)
        make_conninfo(*arguments, **options)
    except (SQLAlchemyError, psycopg.Error, ValueError, TypeError):
        raise InvalidDatabaseUrlError(
            "the database URL is malformed: use postgresql+psycopg://user:password@host:port/name, "
            "with special characters of the password percent-encoded"
        ) from None  # the cause may contain the password
    return parsed


def create_sessions(engine: Engine) -> Sessions:
    """Creates sessions whose objects remain readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


def limited(sessions: Sessions, *, statement_seconds: float) -> Sessions:
    """The same sessions with a time limit for each statement, also behind a pooler that drops settings of connections.

    A statement that takes longer raises `DatabaseUnavailableError` with the kind `TOO_SLOW`.
    """
    made = create_sessions(engine_of(sessions))
    limit = text(f"SET LOCAL statement_timeout = {round(1000 * statement_seconds):d}")

    @event.listens_for(made, "after_begin")
    def set_limit(_session: Session, _transaction: object, connection: Connection) -> None:
        connection.execute(limit)

    return made


@contextmanager
def database_errors() -> Iterator[None]:
    """Translates driver errors into one-line errors of this product.

    A driver's error contains the statement and may contain rows, so it is kept as the cause only if it was raised while
    connecting.

    Raises:
        DatabaseUnavailableError: Postgres does not respond, closed the connection, or cannot run the statement now.
        DatabaseRefusedError: Postgres refuses to connect, for example because of a wrong password.
        TablesOutdatedError: a table or column that this release requires does not exist.
        InsufficientPrivilegeError: the database role may not run the statement.
        UsageError: a value cannot be stored.
        DefectError: Postgres refused a statement for another reason.
    """
    try:
        yield
    except DBAPIError as error:
        raise translated(error) from (error if error.statement is None else None)
    except psycopg.Error as error:  # of a cursor of the driver
        raise translated(of_cursor(error)) from None
    except PoolTimeoutError as error:
        raise DatabaseUnavailableError(
            "no connection to Postgres became free: retry", Fault.TOO_MANY_CONNECTIONS
        ) from error
    except UnicodeEncodeError:
        raise UsageError("invalid text: it has lone surrogates, which UTF-8 cannot represent") from None
    except SQLAlchemyError as error:
        raise DefectError(type(error).__name__, error.__traceback__) from None


def persist(transaction: Callable[[], Result], *, patience_seconds: float) -> Result:
    """Runs a transaction, and retries it while the database is unavailable, so that finished work survives an outage.

    Args:
        transaction: must be idempotent, because an attempt may have committed before its connection was lost.
        patience_seconds: no attempt starts later than this.

    Raises:
        DatabaseUnavailableError: the database stayed unavailable for that long.
        TablesOutdatedError: the database schema is outdated; raised without a retry.
    """
    from tenacity import (  # deferred: imports asyncio
        Retrying,
        retry_if_exception_type,
        stop_before_delay,
        wait_fixed,
    )

    retry = Retrying(
        retry=retry_if_exception_type(DatabaseUnavailableError),
        wait=wait_fixed(_PAUSE_SECONDS),
        stop=stop_before_delay(patience_seconds),
        reraise=True,
    )
    return retry(database_errors()(transaction))


def engine_of(sessions: Sessions) -> Engine:
    """The engine that these sessions use."""
    engine: Engine = sessions.kw["bind"]
    return engine


def recordset(name: str, rows: list[dict[str, Any]], **columns: Any) -> TableValuedAlias:
    """Rows as a table expression with a single parameter, for any number of rows (`jsonb_to_recordset`)."""
    return (
        func.jsonb_to_recordset(bindparam(None, rows, JSONB))
        .table_valued(*(column(key, type_) for key, type_ in columns.items()), name=name)
        .render_derived(with_types=True)
    )
