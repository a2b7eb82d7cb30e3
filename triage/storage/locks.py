"""Locks that Postgres holds for as long as a connection lives, so that a process that dies lets go of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError


class HeldLock:
    """A named lock. One thread may use it at a time."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._key = func.hashtextextended(name, 0)
        self._connection: Connection | None = None

    def take(self) -> bool:
        """Takes the lock unless somebody else holds it, and returns whether it is held now."""
        if self._connection is not None:
            return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if connection.scalar(select(func.pg_try_advisory_lock(self._key))):
            self._connection = connection
            return True
        connection.close()
        return False

    def take_again(self) -> bool:
        """Makes sure of the lock after its connection may have been cut: whether it is still held, or held anew."""
        if self._connection is not None:
            try:
                self._connection.scalar(select(1))
            except DBAPIError:
                self._connection.invalidate()
                self._connection.close()
                self._connection = None
        return self.take()

    def release(self) -> None:
        """Lets go of the lock; closing the connection is enough."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


@contextmanager
def try_lock(engine: Engine, name: str) -> Iterator[HeldLock | None]:
    """Tries to take a named lock and holds it until the block ends.

    Yields:
        The lock, or None where somebody else holds it.
    """
    lock = HeldLock(engine, name)
    try:
        yield lock if lock.take() else None
    finally:
        lock.release()
