"""Checks of Postgres and Redis."""

from datetime import UTC, datetime, timedelta
from typing import Final

from redis import Redis
from sqlalchemy import Engine

from triage.storage import migrate, server
from triage.storage.database import Sessions
from worker.broker.faults import redis_errors
from worker.broker.keys import BrokerKeys
from worker.doctor.problems import ProblemError

_MIN_POSTGRES: Final = 140000
_MAX_CLOCK_DIFFERENCE: Final = timedelta(minutes=5)


def check_postgres(sessions: Sessions) -> str:
    with sessions() as session:
        version, has_time_limits = server.server_version(session), server.has_time_limits(session)
        encoding = server.encoding(session)
    if version < _MIN_POSTGRES:
        raise ProblemError(f"Postgres {version // 10000} is not supported", "upgrade to Postgres 14 or newer")
    if encoding != "UTF8":
        raise ProblemError(
            f"the database has the encoding {encoding}", "create it with ENCODING 'UTF8' TEMPLATE template0"
        )
    if not has_time_limits:
        raise ProblemError(
            "a pooler drops the time limits of connections", "run `triage db roles`, then restart the pooler"
        )
    return f"version {version // 10000}"


def check_transport(sessions: Sessions) -> str:
    with sessions() as session:
        return describe_transport(server.transport(session))


def describe_transport(transport: server.Transport) -> str:
    """Says how a connection is protected. `sslmode=disable` states that the network needs no protection.

    Raises:
        ProblemError: it crosses a network without TLS, or without knowing who answers.
    """
    if transport.is_local:
        return "stays on this host"
    if transport.is_verified:
        return f"encrypted, and the certificate is verified (sslmode={transport.sslmode})"
    if transport.sslmode == "disable":
        return "not encrypted, as the database URL says (sslmode=disable)"
    problem = "the certificate of Postgres is not verified" if transport.encrypted else "it is not encrypted"
    raise ProblemError(
        f"the connection to Postgres crosses a network, and {problem} (sslmode={transport.sslmode})",
        "add `?sslmode=verify-full&sslrootcert=FILE` to TRIAGE_DATABASE__URL, or `?sslmode=disable` if that "
        "network is closed to others",
    )


def check_connections(sessions: Sessions, pool_size: int) -> str:
    """A process opens up to twice its pool; less than that is free just before the server refuses connections."""
    with sessions() as session:
        used, allowed = server.connections(session)
    if allowed - used < 2 * pool_size:
        raise ProblemError(
            f"{used} of {allowed} connections to Postgres are in use, and a process may open {2 * pool_size}",
            "raise max_connections, set a smaller TRIAGE_DATABASE__POOL_SIZE, or use PgBouncer",
        )
    return f"{used} of {allowed} in use"


def check_clock(sessions: Sessions) -> str:
    """Reports assume that the clocks of all hosts agree within `CLOCKS_AGREE`."""
    with sessions() as session:
        difference = abs(datetime.now(UTC) - server.server_time(session))
    if difference > _MAX_CLOCK_DIFFERENCE:
        raise ProblemError(
            f"the clocks of this host and of Postgres differ by {timedelta(seconds=round(difference.total_seconds()))}",
            "synchronise both with NTP",
        )
    return "agrees with Postgres"


def check_role(sessions: Sessions) -> str:
    with sessions() as session:
        name, can_change_history = server.current_role(session)
    if can_change_history:
        raise ProblemError(
            "the database role is a superuser or owns the tables, so it can change the history",
            "create the roles with `triage db roles` and connect as triage_worker",
        )
    return name


def check_tables(engine: Engine) -> str:
    migrate.check_current(engine)
    return f"revision {migrate.head()}"


def check_redis(redis: Redis, key_prefix: str) -> str:
    with redis_errors():
        version = redis.info("server")["redis_version"]
        policy = redis.info("memory").get("maxmemory_policy", "noeviction")
        damaged = BrokerKeys(redis, key_prefix).damaged()
    if damaged:
        raise ProblemError(
            f"another client has overwritten keys of the queues: {', '.join(damaged)}",
            "running workers delete them within seconds; if they come back, give no other client access to Redis",
        )
    if policy != "noeviction":
        raise ProblemError(f"Redis may evict tasks (maxmemory-policy {policy})", "set maxmemory-policy noeviction")
    return f"version {version}"
