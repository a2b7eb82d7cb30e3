"""Queries that run at the same time, each on a connection of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy import text
from sqlalchemy.orm import Session

from triage.storage.database import Sessions

Result = TypeVar("Result")

CONNECTIONS: Final = 2
"""Few, since the server and the pool of connections also serve others."""

_ALONE: Final = text("SET LOCAL max_parallel_workers_per_gather = 0")


def read_at_once(
    sessions: Sessions, queries: Sequence[Callable[[Session], Result]], *, at_once: int = CONNECTIONS
) -> list[Result]:
    """Runs read-only queries, some at a time, each in a transaction that ends with it.

    They do not share a snapshot: each sees what is committed when it starts. Postgres adds no parallel workers, so that
    they use `at_once` cores of its machine and no more.

    Args:
        sessions: of any role.
        queries: the slowest first.
        at_once: how many run at a time.

    Returns:
        The results in the order of the queries.
    """

    def read(query: Callable[[Session], Result]) -> Result:
        with sessions() as session:
            session.execute(_ALONE)
            return query(session)

    if len(queries) == 1 or at_once == 1:
        return [read(query) for query in queries]
    with ThreadPoolExecutor(at_once, "read") as pool:
        return list(pool.map(read, queries))
