"""Named locks: exclusive, free at once after their release, and free when their holder's connection is lost."""

import subprocess
import sys

from sqlalchemy import Engine, create_engine, text

from tests.support.deployment import eventually
from triage.storage.database import create_database_engine
from triage.storage.locks import HeldLock, try_lock

HOLDER = """
import sys, time
from triage.storage.database import create_database_engine
from triage.storage.locks import try_lock
with try_lock(create_database_engine(sys.argv[1]), "a device") as lock:
    print(lock is not None, flush=True)
    time.sleep(600)
"""

# what makes vacuum and CREATE INDEX CONCURRENTLY wait for a transaction
HOLDERS = text(
    "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity "
    "WHERE pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
)
CUT = text("SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'")


def test_lock_is_free_at_once_after_each_release(engine: Engine, database_url: str) -> None:
    other = create_database_engine(database_url)
    for _ in range(100):
        for each in (engine, other):
            with try_lock(each, "a device") as lock:
                assert lock is not None
    other.dispose()


def test_lock_excludes_others_and_delays_neither_vacuum_nor_migrations(engine: Engine) -> None:
    with try_lock(engine, "a device") as lock:
        assert lock is not None
        with try_lock(engine, "a device") as second, try_lock(engine, "another device") as third:
            assert second is None
            assert third is not None
        with engine.connect() as connection:
            assert connection.execute(HOLDERS).all() == [("idle in transaction", None, None)]


def test_lock_outlasts_the_limit_on_idle_transactions(engine: Engine) -> None:
    options = "-c idle_in_transaction_session_timeout=200ms"
    short = create_engine(engine.url, connect_args={"options": options})
    with try_lock(short, "a device") as lock:
        assert lock is not None
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_sleep(1)"))
        with try_lock(engine, "a device") as second:
            assert second is None
    short.dispose()


def test_lock_is_acquired_again_when_its_connection_was_cut(engine: Engine) -> None:
    lock = HeldLock(engine, "a device")
    assert lock.take()
    with engine.connect() as connection:
        connection.execute(CUT)
    assert lock.take_again()
    with try_lock(engine, "a device") as second:
        assert second is None
    lock.release()
    with try_lock(engine, "a device") as third:
        assert third is not None


def test_lock_is_lost_when_another_took_it_after_its_connection_was_cut(engine: Engine) -> None:
    first, second = HeldLock(engine, "a device"), HeldLock(engine, "a device")
    assert first.take()
    with engine.connect() as connection:
        connection.execute(CUT)
    assert second.take()
    assert not first.take_again()
    second.release()
    assert first.take_again()
    first.release()


def test_release_is_silent_when_the_connection_was_cut(engine: Engine) -> None:
    with try_lock(engine, "a device") as lock:
        assert lock is not None
        with engine.connect() as connection:
            connection.execute(CUT)
    with try_lock(engine, "a device") as second:
        assert second is not None


def test_lock_is_free_when_its_process_was_killed(engine: Engine, database_url: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"True\n"
            with try_lock(engine, "a device") as lock:
                assert lock is None
        finally:
            holder.kill()

    def is_free() -> bool:
        with try_lock(engine, "a device") as lock:
            return lock is not None

    assert eventually(is_free)
