"""Announcements by Postgres (NOTIFY) of messages that are decided and of assessments that are answered."""

from collections.abc import AsyncGenerator
from typing import Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import make_url

from triage.errors import DatabaseRefusedError, DatabaseUnavailableError, Fault, ListenUrlError
from triage.storage.database import create_database_engine, database_errors

_PERMANENT: Final = frozenset({Fault.UNKNOWN_HOST})
_OPTIONS: Final = {
    "connect_timeout": 5,
    "application_name": "triage listener",
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}


ASSESSED: Final = "triage_assessed"
"""The channel of assessments that have an answer."""


def check_url(url: str) -> None:
    """Connects once. A database that is down is no error: it may announce later.

    Raises:
        ListenUrlError: the URL is malformed, its host is unknown, or Postgres refuses to connect.
    """
    try:
        with database_errors():
            engine = create_database_engine(url, pool_size=1)
            try:
                engine.connect().close()
            finally:
                engine.dispose()
    except DatabaseUnavailableError as error:
        if isinstance(error, DatabaseRefusedError) or error.kind in _PERMANENT:
            raise ListenUrlError(f"decisions cannot be awaited: {error}", error.kind) from error


async def announced(url: str) -> AsyncGenerator[UUID | None, None]:
    """Yields None once it listens, then the id of each message that is decided and each assessment that is answered.

    Args:
        url: of the database itself or of a pooler that keeps sessions: one in transaction mode announces nothing.

    Raises:
        OSError: the connection cannot be made, or was lost.
    """
    arguments, of_url = make_url(url).get_dialect()().create_connect_args(make_url(url))
    options: dict[str, Any] = {**of_url, **_OPTIONS}
    try:
        async with await psycopg.AsyncConnection.connect(*arguments, **options, autocommit=True) as connection:
            await connection.execute("LISTEN triage_decision")
            await connection.execute(f"LISTEN {ASSESSED}")
            yield None
            async for notification in connection.notifies():
                yield UUID(notification.payload)
    except psycopg.Error:
        raise ConnectionError("Postgres announces nothing now") from None  # the cause may show the URL
