"""The connection to Postgres."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

from sqlalchemy import Engine, TableValuedAlias, bindparam, column, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from triage.errors import ServiceUnavailableError, TablesOutdatedError, UsageError

Result = TypeVar("Result")
Sessions = sessionmaker[Session]

_PAUSE_SECONDS: Final = 0.5


def create_database_engine(url: str, *, pool_size: int = 4, connect_timeout_seconds: int = 5) -> Engine:
    """An engine that notices dead connections, names itself in `pg_stat_activity` and gives up on idle transactions.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: connections kept open; as many again may be opened for a moment.
        connect_timeout_seconds: how long to wait for a server that does not answer.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=connect_timeout_seconds,
        hide_parameters=True,  # an error text never shows a row's values
        json_serializer=partial(json.dumps, default=str),
        connect_args={
            "connect_timeout": connect_timeout_seconds,
            "application_name": "triage",
            "options": "-c timezone=UTC -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s",
            # a server that vanished, as in a failover, is noticed within a minute, idle or in the middle of a statement
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        },
    )


def create_sessions(engine: Engine) -> Sessions:
    """Sessions whose objects stay readable after the commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turns a database that does not answer into one line that says so."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeoutError) as error:
        raise ServiceUnavailableError(
            "Postgres does not answer: start it (`triage up` for the embedded one) or set TRIAGE_DATABASE__URL; "
            "`triage doctor` says more"
        ) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise ServiceUnavailableError("the connection to Postgres was cut: try again") from error
        if getattr(error.orig, "sqlstate", None) in {"42P01", "42703"}:  # undefined table or column
            raise outdated_tables() from error
        if getattr(error.orig, "sqlstate", None) == "42501":  # insufficient privilege
            raise UsageError(
                "this database role may not do that: docs/operations.md says which role each command needs"
            ) from error
        raise


def persist(transaction: Callable[[], Result], *, patience_seconds: float) -> Result:
    """Runs a transaction again for as long as the database does not answer, so that work in hand outlives an outage.

    Args:
        transaction: harmless if an attempt before it was committed and nobody heard of it.
        patience_seconds: after which it is not tried again.

    Raises:
        ServiceUnavailableError: the database did not answer in that time, or (at once) its tables are outdated.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with database_errors():
                return transaction()
        except TablesOutdatedError:
            raise
        except ServiceUnavailableError:
            if time.monotonic() + _PAUSE_SECONDS > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def outdated_tables() -> TablesOutdatedError:
    return TablesOutdatedError("the database's tables are not up to date: run `triage db upgrade`")


def recordset(name: str, rows: list[dict[str, Any]], **columns: Any) -> TableValuedAlias:
    """Rows as a table in a statement: one parameter, however many rows (Postgres' `jsonb_to_recordset`)."""
    return (
        func.jsonb_to_recordset(bindparam(None, rows, JSONB))
        .table_valued(*(column(key, type_) for key, type_ in columns.items()), name=name)
        .render_derived(with_types=True)
    )
