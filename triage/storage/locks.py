"""Locks that Postgres holds for as long as a connection lives, so that a process that dies lets go of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, select


@contextmanager
def held_lock(engine: Engine, name: str) -> Iterator[bool]:
    """Tries to take a named lock and holds it until the block ends.

    Yields:
        Whether the lock was free. Where it was not, the caller has nothing to let go of.
    """
    key = func.hashtextextended(name, 0)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        free = bool(connection.scalar(select(func.pg_try_advisory_lock(key))))
        try:
            yield free
        finally:
            if free:
                connection.execute(select(func.pg_advisory_unlock(key)))
