"""What a Postgres has done so far: CPU time, log, fsyncs, transactions. The difference of two readings is the cost."""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Self

import psutil
from sqlalchemy import Engine, text

_WAITS = text(
    "SELECT coalesce(wait_event_type || ' ' || wait_event, 'running'), count(*) FROM pg_stat_activity "
    "WHERE state = 'active' AND pid <> pg_backend_pid() AND backend_type = 'client backend' GROUP BY 1"
)

_COUNTERS = text(
    "SELECT pg_current_wal_lsn() - '0/0' AS wal_bytes, "
    "(SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal') AS fsyncs, "
    "(SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()) AS transactions"
)


@dataclass(frozen=True, slots=True)
class Counters:
    """
    Attributes:
        cpu_seconds: of the server and all processes that it has started, also those that have ended.
        wal_bytes: written to the write-ahead log.
        fsyncs: of that log.
        transactions: ended in this database, also by a rollback.
    """

    cpu_seconds: float
    wal_bytes: float
    fsyncs: float
    transactions: float

    @classmethod
    def read(cls, engine: Engine, server: psutil.Process) -> Self:
        """Reads the counters. Postgres counts fsyncs and transactions of a connection when it closes."""
        with engine.connect() as connection:
            row = connection.execute(_COUNTERS).one()
        return cls(cpu_seconds(server), float(row.wal_bytes), float(row.fsyncs), float(row.transactions))

    def since(self, before: Self, photos: int) -> dict[str, float]:
        """The cost per photo."""
        return {each.name: (getattr(self, each.name) - getattr(before, each.name)) / photos for each in fields(self)}


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and of all processes below it."""
    own = process.cpu_times()
    ended = own.children_user + own.children_system
    return float(own.user + own.system + ended + sum(cpu_seconds(child) for child in process.children()))


def waits(engine: Engine) -> Counter[str]:
    """What the statements in progress wait for, by event."""
    with engine.connect() as connection:
        return Counter({str(event): n for event, n in connection.execute(_WAITS)})
