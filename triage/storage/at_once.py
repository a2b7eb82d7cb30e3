"""Queries that run at the same time, each on a connection of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from sqlalchemy.orm import Session

from triage.storage.database import Sessions

Result = TypeVar("Result")

CONNECTIONS: Final = 2
"""Few, since the server and the pool of connections also serve others."""


def read_at_once(sessions: Sessions, queries: Sequence[Callable[[Session], Result]]) -> list[Result]:
    """Runs read-only queries, `CONNECTIONS` at a time, each in a transaction that ends with it.

    They do not share a snapshot: each sees what is committed when it starts.

    Returns:
        The results in the order of the queries.
    """

    def read(query: Callable[[Session], Result]) -> Result:
        with sessions() as session:
            return query(session)

    if len(queries) == 1:
        return [read(queries[0])]
    with ThreadPoolExecutor(CONNECTIONS, "read") as pool:
        return list(pool.map(read, queries))
