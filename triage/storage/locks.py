"""Advisory locks of Postgres, held by a connection: a process that dies releases its locks."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError


class HeldLock:
    """A named lock. Not thread-safe."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._key = func.hashtextextended(name, 0)
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Acquires the lock unless another connection holds it. Returns whether it is held now."""
        if self._connection is not None:
            return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if connection.scalar(select(func.pg_try_advisory_lock(self._key))):
            self._connection = connection
            return True
        connection.close()
        return False

    def take_again(self) -> bool:
        """Acquires the lock again if its connection was lost. Returns whether the lock is held now."""
        if self._connection is not None:
            try:
                self._connection.scalar(select(1))
            except DBAPIError:
                self._close(self._connection)
        return self.take()

    def release(self) -> None:
        """Releases the lock. Does nothing if it is not held."""
        if self._connection is not None:
            with suppress(DBAPIError):  # the end of a lost connection has released the lock
                # explicitly, because the server notices a closed connection only some time later
                self._connection.scalar(select(func.pg_advisory_unlock(self._key)))
            self._close(self._connection)

    def _close(self, connection: Connection) -> None:
        connection.invalidate()
        connection.close()
        self._connection = None


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
