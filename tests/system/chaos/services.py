"""Faults of Redis and Postgres: killed, stopped, empty, unreachable, full, and connections cut."""

import os
import signal
import time
from contextlib import suppress
from typing import Final

import psycopg

from tests.system.chaos.site import Scale, Site
from triage.errors import ServiceUnavailableError

_PARTS: Final = ("scoring-1", "intake-1", "beat-1")


def lose_redis(site: Site, scale: Scale) -> int:
    """Kills Redis during work and restarts it empty."""
    _begin(site, scale)
    for _ in range(scale.times):
        site.wait_for_work()
        time.sleep(site.dice.uniform(0, 1))
        kill_redis(site)
        site.redis.start()
        site.fault_ended()
        site.send(scale, 0.1)
    site.settle()
    return scale.times


def stop_redis(site: Site, scale: Scale) -> int:
    """Stops Redis while messages arrive, then continues it with its data."""
    _begin(site, scale, share=0.5)
    site.wait_for_work()
    pid = site.redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with site.sending(scale, 0.05):
            time.sleep(scale.seconds / 2)
            os.kill(pid, signal.SIGCONT)
            site.fault_ended()
    finally:
        os.kill(pid, signal.SIGCONT)
    site.send(scale, 0.5)
    site.settle()
    return 1


def refuse_redis(site: Site, scale: Scale) -> int:
    """Makes Redis refuse connections while all messages are enqueued."""
    site.parts.start(*_PARTS)
    site.sender.send(3, 9)
    site.settle()
    site.redis.stop()
    started = time.monotonic()
    site.send(scale)
    time.sleep(max(0.0, scale.seconds - (time.monotonic() - started)))
    site.redis.start()
    site.fault_ended()
    site.settle()
    return 1


def restart_postgres(site: Site, scale: Scale) -> int:
    """Restarts Postgres in immediate mode under load: it recovers from its log, and every connection is lost."""
    _begin(site, scale)
    for _ in range(scale.times):
        site.wait_for_work()
        time.sleep(site.dice.uniform(0, 1))
        with site.sending(scale, 0.1):
            site.postgres.stop("immediate")
            site.postgres.start()
            site.fault_ended()
    site.settle()
    return scale.times


def cut_connections(site: Site, scale: Scale) -> int:
    """Cuts connections, most of them during a transaction."""
    _begin(site, scale)
    n_cut = 0
    with site.sending(scale, 0.5):
        deadline = time.monotonic() + 120
        while n_cut < 20 * scale.times and time.monotonic() < deadline:
            with suppress(ServiceUnavailableError):
                cut = site.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'triage' "
                    "AND pid <> pg_backend_pid() AND (state <> 'idle' OR random() < 0.02)"
                )
                n_cut += len(cut)
                if cut:
                    site.fault_ended()
            time.sleep(0.1)
    site.settle()
    return n_cut


def lose_postgres(site: Site, scale: Scale) -> int:
    """Blocks all connections to Postgres, as during a failover."""
    _begin(site, scale)
    site.wait_for_work()
    with site.sending(scale, 0.1):
        site.postgres.stop("immediate")
        time.sleep(scale.seconds)
        site.postgres.start()
        site.fault_ended()
    site.settle()
    assert site.sender.sent.refused, "a message was accepted without Postgres"
    return 1


def fill_postgres(site: Site, scale: Scale) -> int:
    """Occupies every connection of Postgres."""
    site.send(scale)
    taken = [connect(site)]
    try:
        with suppress(psycopg.OperationalError):
            while True:
                taken.append(connect(site))
        site.parts.start(*_PARTS)  # parts that start now get no connection
        with site.sending(scale, 0.1):
            time.sleep(scale.seconds / 2)
            _close(taken)
            site.fault_ended()
    finally:
        _close(taken)
    site.settle()
    return 1


def _begin(site: Site, scale: Scale, *, share: float = 1.0) -> None:
    site.parts.start(*_PARTS)
    site.send(scale, share)


def _close(connections: "list[psycopg.Connection[tuple[object, ...]]]") -> None:
    for connection in connections:
        connection.close()


def connect(site: Site) -> "psycopg.Connection[tuple[object, ...]]":
    """Connects as the superuser."""
    return psycopg.connect(site.state.database_url().replace("postgresql+psycopg", "postgresql"), autocommit=True)


def kill_redis(site: Site) -> None:
    pid = site.redis.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
