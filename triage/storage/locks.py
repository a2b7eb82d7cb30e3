"""Advisory locks of Postgres, held by an open transaction: a process that dies releases its locks.

A transaction, not a session, because a pooler such as PgBouncer in transaction mode gives each transaction of a
connection another session: the lock of a session would stay behind, and the next client would share it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from sqlalchemy import Connection, Engine, Function, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

SCHEMA_LOCK: Final = "the schema"
"""Of concurrent upgrades: the others wait for the first and then have nothing to do."""

# Of this transaction only. Idle, it has no snapshot and no transaction id, so it delays neither vacuum nor migrations.
_WITHOUT_TIME_LIMIT: Final = text(
    "SELECT set_config(name, '0', true) FROM pg_settings "
    "WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout', 'lock_timeout')"
)

_HELD: Final = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32) | objid::bigint = hashtextextended(:name, 0))"
)


class HeldLock:
    """A named lock. Not thread-safe."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._key = _key(name)
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Acquires the lock unless another connection holds it. Returns whether it is held now."""
        if self._connection is not None:
            return True
        connection = self._engine.connect()
        is_held = False
        try:
            is_held = bool(connection.scalar(select(func.pg_try_advisory_xact_lock(self._key))))
            if is_held:
                connection.execute(_WITHOUT_TIME_LIMIT)
                self._connection = connection
        finally:
            if self._connection is None:
                connection.close()
        return is_held

    def take_again(self) -> bool:
        """Acquires the lock again if its connection was lost. Returns whether the lock is held now."""
        if self._connection is not None:
            try:
                self._connection.scalar(select(1))
            except DBAPIError:
                self.release()
        return self.take()

    def release(self) -> None:
        """Releases the lock. Does nothing if it is not held.

        Once this returns, the lock can be acquired: Postgres has ended the transaction, unless the connection is lost.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):  # Postgres ends the transaction of a lost connection
                connection.rollback()
            with suppress(DBAPIError):
                connection.close()


@contextmanager
def try_lock(engine: Engine, name: str) -> Iterator[HeldLock | None]:
    """Tries to acquire a named lock and holds it until the block ends.

    Yields:
        The lock, or None if another connection holds it.
    """
    lock = HeldLock(engine, name)
    try:
        yield lock if lock.take() else None
    finally:
        lock.release()


@contextmanager
def wait_for_lock(engine: Engine, name: str) -> Iterator[None]:
    """Waits for a named lock, without a time limit, and holds it until the block ends."""
    with engine.connect() as connection:
        connection.execute(_WITHOUT_TIME_LIMIT)
        connection.execute(select(func.pg_advisory_xact_lock(_key(name))))
        yield


def is_held(session: Session, name: str) -> bool:
    """Whether a connection to this database holds a named lock."""
    return bool(session.scalar(_HELD, {"name": name}))


def _key(name: str) -> Function[int]:
    return func.hashtextextended(name, 0)
