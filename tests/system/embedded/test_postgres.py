import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil
import psycopg
import pytest
import sqlalchemy

from worker.embedded.postgres import EmbeddedPostgres
from worker.state_folder import EmbeddedError, StateFolder, default_state_folder

REPOSITORY = Path(__file__).parents[3]
AS_ROOT = os.geteuid() == 0
LAUNCH = """
import sys, time
from pathlib import Path
from worker.embedded.postgres import EmbeddedPostgres
from worker.state_folder import StateFolder

server = EmbeddedPostgres(StateFolder(Path(sys.argv[1])))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""

Launch = Callable[[StateFolder], subprocess.Popen[str]]


def _state_at(root: Path) -> Iterator[StateFolder]:
    state = StateFolder(root)
    try:
        yield state
    finally:
        EmbeddedPostgres(state).stop("immediate")
        shutil.rmtree(root)
        shutil.rmtree(state.socket_dir, ignore_errors=True)


def _new_root() -> Path:
    # not tmp_path: its parents exclude other users, and the Postgres of root runs as another user
    return Path(tempfile.mkdtemp(prefix="triage-test-", dir="/var/tmp"))


@pytest.fixture
def empty_state() -> Iterator[StateFolder]:
    yield from _state_at(_new_root())


@pytest.fixture(scope="module")
def state() -> Iterator[StateFolder]:
    yield from _state_at(_new_root())


@pytest.fixture
def postgres(state: StateFolder) -> EmbeddedPostgres:
    server = EmbeddedPostgres(state)
    server.start()
    return server


@pytest.fixture
def stopped(state: StateFolder) -> StateFolder:
    """A state whose server does not run, so that a launcher starts it, and not an earlier test."""
    EmbeddedPostgres(state).stop()
    return state


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts launchers: processes that start the server and then wait."""
    launchers: list[subprocess.Popen[str]] = []

    def _launch(state: StateFolder) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LAUNCH, str(state.root)]
        launchers.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
        return launchers[-1]

    yield _launch
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()


def connect(state: StateFolder, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
    host = str(state.socket_dir)
    return psycopg.connect(host=host, port=5432, user="postgres", dbname=database, autocommit=True)


def value(state: StateFolder, query: str) -> object:
    with connect(state) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def write_note(state: StateFolder) -> None:
    with connect(state) as connection:
        connection.execute("DROP TABLE IF EXISTS note")
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def pid_printed_by(launcher: subprocess.Popen[str]) -> int:
    assert launcher.stdout is not None
    return int(launcher.stdout.readline())


def test_client_connects_when_postgres_has_started(
    state: StateFolder, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    postgres.ensure_database("triage")
    engine = sqlalchemy.create_engine(state.database_url())
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.text("SELECT current_database()")) == "triage"
    engine.dispose()
    postgres.stop()
    assert not postgres.is_running()
    assert postgres.pid is None
    with pytest.raises(psycopg.OperationalError):
        connect(state)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("max_connections", "100"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "1GB"),
        ("TimeZone", "UTC"),
    ],
)
def test_settings_are_as_documented_when_postgres_has_started(
    state: StateFolder, postgres: EmbeddedPostgres, setting: str, expected: str
) -> None:
    assert value(state, f"SHOW {setting}") == expected


def test_no_tcp_port_is_open_when_postgres_has_started(postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    assert pid is not None
    server = psutil.Process(pid)
    for process in (server, *server.children()):
        with suppress(psutil.NoSuchProcess):  # Postgres stops idle background workers
            assert process.net_connections(kind="inet") == []


def test_terminal_cannot_interrupt_postgres_when_it_has_started(postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)


def test_other_users_have_no_access_when_postgres_has_started(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(state.root.stat().st_mode) == (0o711 if AS_ROOT else 0o700)
    for folder in (state.socket_dir, state.postgres_data, state.logs, state.blobs, state.models):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (state.postgres_data.stat().st_uid == os.geteuid()) is not AS_ROOT


def test_log_holds_no_patient_data_when_statements_fail(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    with connect(state) as connection:
        connection.execute("CREATE TEMPORARY TABLE complaint (text text PRIMARY KEY)")
        connection.execute("INSERT INTO complaint VALUES ('itching')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO complaint VALUES ('itching')")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT 'itching'::integer")
    assert "itching" not in postgres.log.read_text()


def test_ensure_database_has_no_effect_when_the_database_exists(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database('odd "name"')
    postgres.ensure_database('odd "name"')
    assert value(state, "SELECT count(*) FROM pg_database WHERE datname = 'odd \"name\"'") == 1


def test_database_is_a_copy_when_a_template_is_given(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database("original")
    with connect(state, "original") as connection:
        connection.execute("CREATE TABLE note AS SELECT 'kept' AS text")
    postgres.ensure_database("copied", template="original")
    with connect(state, "copied") as connection:
        assert connection.execute("SELECT text FROM note").fetchone() == ("kept",)


def test_database_is_dropped_when_it_is_in_use(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database("used")
    session = connect(state, "used")
    postgres.drop_database("used")
    postgres.drop_database("used")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()


def test_error_is_one_line_when_postgres_rejects_a_statement(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedError, match='template database "absent" does not exist') as error:
        postgres.ensure_database("any", template="absent")
    assert "\n" not in str(error.value)


def test_server_keeps_running_when_it_is_started_twice(postgres: EmbeddedPostgres) -> None:
    pid = postgres.pid
    postgres.start()
    assert postgres.pid == pid


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_data_is_kept_when_the_server_is_restarted(
    state: StateFolder, postgres: EmbeddedPostgres, mode: Literal["fast", "immediate"]
) -> None:
    write_note(state)
    postgres.stop(mode)
    postgres.start()
    assert value(state, "SELECT text FROM note") == "kept"


def test_running_server_is_found_when_its_launcher_was_killed(stopped: StateFolder, launch: Launch) -> None:
    launcher = launch(stopped)
    pid = pid_printed_by(launcher)
    write_note(stopped)
    launcher.kill()
    launcher.wait()

    server = EmbeddedPostgres(stopped)
    assert server.is_running()
    server.start()

    assert server.pid == pid
    assert value(stopped, "SELECT text FROM note") == "kept"
    server.stop()
    assert not server.is_running()


def test_stop_returns_when_the_launcher_never_waits_for_its_child(stopped: StateFolder, launch: Launch) -> None:
    pid = pid_printed_by(launch(stopped))
    server = EmbeddedPostgres(stopped)
    server.stop()
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not server.is_running()
    server.start()
    assert server.pid != pid


def test_one_server_runs_when_two_launchers_start_at_the_same_time(empty_state: StateFolder, launch: Launch) -> None:
    first, second = launch(empty_state), launch(empty_state)
    assert pid_printed_by(first) == pid_printed_by(second)


def test_committed_data_is_kept_when_postgres_was_killed(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    write_note(state)
    killed = postgres.pid
    kill(killed)
    assert (state.postgres_data / "postmaster.pid").exists()

    EmbeddedPostgres(state).start()

    assert postgres.pid != killed
    assert value(state, "SELECT text FROM note") == "kept"


def test_start_succeeds_when_another_process_has_the_stale_pid(state: StateFolder, postgres: EmbeddedPostgres) -> None:
    kill(postgres.pid)
    server_user = state.postgres_data.stat().st_uid if AS_ROOT else None
    with subprocess.Popen(["sleep", "600"], user=server_user) as other:
        try:
            for lock in (state.postgres_data / "postmaster.pid", state.socket_dir / ".s.PGSQL.5432.lock"):
                _, _, rest = lock.read_text().partition("\n")
                lock.write_text(f"{other.pid}\n{rest}")
            assert not postgres.is_running()
            postgres.start()
            assert postgres.pid != other.pid
            assert other.poll() is None
        finally:
            other.kill()


def test_start_waits_when_a_session_of_the_killed_server_still_runs(
    state: StateFolder, postgres: EmbeddedPostgres
) -> None:
    session = connect(state)
    backend = session.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    kill(postgres.pid)
    try:
        with pytest.raises(EmbeddedError, match="shared memory block"):
            EmbeddedPostgres(state, start_timeout_seconds=1).start()
    finally:
        os.kill(backend, signal.SIGCONT)
    postgres.start()
    assert value(state, "SELECT 1") == 1
    session.close()


def test_incomplete_data_folder_is_not_used_when_the_launcher_was_killed_during_initdb(
    empty_state: StateFolder, launch: Launch
) -> None:
    launcher = launch(empty_state)
    while not list(empty_state.root.glob("postgres.new-*/PG_VERSION")):
        assert not empty_state.postgres_data.exists(), "the moment has passed"
        assert launcher.poll() is None
        time.sleep(0.001)
    launcher.kill()
    launcher.wait()
    assert not empty_state.postgres_data.exists()

    server = EmbeddedPostgres(empty_state)
    server.start()

    assert value(empty_state, "SELECT 1") == 1
    assert list(empty_state.root.glob("postgres.new-*")) == []


def test_error_names_cause_and_log_when_postgres_cannot_start(empty_state: StateFolder) -> None:
    server = EmbeddedPostgres(empty_state)
    server.start()
    server.stop()
    (empty_state.postgres_data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="FATAL:  database files are incompatible") as error:
        server.start()
    assert str(server.log) in str(error.value)
    assert "\n" not in str(error.value)
    assert not server.is_running()


@pytest.mark.skipif(not AS_ROOT, reason="only root's Postgres runs as another user")
def test_parent_folders_keep_their_permissions_when_root_starts_postgres(empty_state: StateFolder) -> None:
    before = {parent: parent.stat().st_mode for parent in empty_state.root.parents}
    package = {path: path.stat().st_mode for path in (Path(sys.prefix), *Path(sys.prefix).parents)}
    EmbeddedPostgres(empty_state).start()
    assert {parent: parent.stat().st_mode for parent in before} == before
    assert {path: path.stat().st_mode for path in package} == package


@pytest.mark.skipif(not AS_ROOT, reason="only root's Postgres runs as another user")
def test_error_says_what_to_do_when_the_user_of_the_server_cannot_access_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedError, match=r"the user nobody cannot run .* choose a state folder"):
        EmbeddedPostgres(StateFolder(tmp_path / "state")).start()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert list((tmp_path / "state").glob("postgres.new-*")) == []


@pytest.mark.parametrize("name", ["long" * 30, "a, b"])
def test_socket_folder_is_in_tmp_when_the_path_of_the_root_is_unsuitable(state: StateFolder, name: str) -> None:
    state.prepare()
    for awkward in _state_at(state.root / name):
        assert awkward.socket_dir.parent == Path("/tmp")
        assert awkward.socket_dir == StateFolder(state.root / "elsewhere" / ".." / name).socket_dir
        EmbeddedPostgres(awkward).start()
        assert value(awkward, "SELECT 1") == 1
        assert stat.S_IMODE(awkward.socket_dir.stat().st_mode) == 0o700


def test_addresses_are_quoted_when_the_root_has_odd_characters(state: StateFolder) -> None:
    state.prepare()
    for odd in _state_at(state.root / "a b &+%c"):
        EmbeddedPostgres(odd).start()
        engine = sqlalchemy.create_engine(odd.database_url("postgres"))
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1
        engine.dispose()


def test_root_is_rejected_when_others_can_write_to_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(EmbeddedError, match="others can write"):
        StateFolder(tmp_path).prepare()


@pytest.mark.skipif(not AS_ROOT, reason="only root can give files away")
def test_root_is_rejected_when_another_user_owns_it(tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    for root in (planted, link):
        with pytest.raises(EmbeddedError, match="belongs to another user"):
            StateFolder(root).prepare()
        assert list(planted.iterdir()) == []


def test_error_says_what_to_do_when_the_root_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=r"cannot create the state folder .*: Not a directory"):
        StateFolder(tmp_path / "file").prepare()


def test_default_root_is_outside_the_home_folder_when_the_user_is_root() -> None:
    home = Path.home() / ".local/state/skin-photo-triage"
    assert default_state_folder() == (Path("/var/lib/skin-photo-triage") if AS_ROOT else home)
