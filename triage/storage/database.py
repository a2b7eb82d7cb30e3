"""Connections to Postgres: engine, sessions, translation of driver errors, retries of transactions."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, TableValuedAlias, bindparam, column, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from triage.domain.limits import POOL_SIZE
from triage.errors import (
    DatabaseUnavailableError,
    InsufficientPrivilegeError,
    TablesOutdatedError,
)

Result = TypeVar("Result")
Sessions = sessionmaker[Session]

_PAUSE_SECONDS: Final = 0.5


def create_database_engine(url: str, *, pool_size: int = POOL_SIZE, connect_timeout_seconds: int = 5) -> Engine:
    """An engine that detects dead connections, is named in `pg_stat_activity` and ends idle transactions.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: number of connections kept open; the same number again may be opened temporarily.
        connect_timeout_seconds: time to wait for a server that does not respond.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=connect_timeout_seconds,
        hide_parameters=True,  # error texts never contain values of rows
        json_serializer=partial(json.dumps, default=str),
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "application_name": "triage",
            "options": "-c timezone=UTC -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s",
            # detects a lost server, for example after a failover, within a minute, also during a statement
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        },
    )


def create_sessions(engine: Engine) -> Sessions:
    """Creates sessions whose objects remain readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def database_errors() -> Iterator[None]:
    """Translates driver errors into one-line errors of this product.

    Raises:
        DatabaseUnavailableError: Postgres does not respond, or closed the connection.
        TablesOutdatedError: a table or column that this release requires does not exist.
        InsufficientPrivilegeError: the database role may not run the statement.
    """
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise DatabaseUnavailableError("Postgres does not respond: start it or correct the database URL") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailableError("Postgres closed the connection: retry") from error
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:  # undefined table or column
            raise outdated_tables() from error
        if getattr(error.orig, "sqlstate", None) == "42501":  # insufficient privilege
            raise InsufficientPrivilegeError(
                "permission denied for this database role: connect as the role that this operation requires"
            ) from error
        raise


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


def outdated_tables() -> TablesOutdatedError:
    return TablesOutdatedError("the database schema is outdated: upgrade it")


def recordset(name: str, rows: list[dict[str, Any]], **columns: Any) -> TableValuedAlias:
    """Rows as a table expression with a single parameter, for any number of rows (`jsonb_to_recordset`)."""
    return (
        func.jsonb_to_recordset(bindparam(None, rows, JSONB))
        .table_valued(*(column(key, type_) for key, type_ in columns.items()), name=name)
        .render_derived(with_types=True)
    )
