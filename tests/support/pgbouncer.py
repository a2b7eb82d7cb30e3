"""A real PgBouncer in front of the Postgres of the test run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.deployment import eventually
from triage.storage.role_names import ROLES
from worker.state_folder import StateFolder, unprivileged_user

_PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")

# Round robin: nearly every transaction of a client runs in another session of Postgres than the one before.
_CONFIGURATION: Final = """
[databases]
* = host={postgres} port=5432

[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = 8
server_round_robin = 1
{further}
"""


@contextmanager
def pgbouncer(state: StateFolder, mode: str, *further: str) -> Iterator[Path]:
    """Runs a PgBouncer. Yields the folder of its socket, where it listens on port 6432.

    Args:
        state: of the running Postgres.
        mode: `session` or `transaction`.
        further: lines of its configuration.
    """
    if _PROGRAM is None:
        pytest.skip("pgbouncer is not installed: run tests/install-packages as root")
    folder = Path(tempfile.mkdtemp(prefix="triage-pgbouncer-", dir="/var/tmp"))  # its user can enter it
    try:
        configuration = folder / "pgbouncer.ini"
        values = {"postgres": state.socket_dir, "folder": folder, "mode": mode, "further": "\n".join(further)}
        configuration.write_text(_CONFIGURATION.format(**values), encoding="utf-8")
        (folder / "users").write_text("".join(f'"{role}" ""\n' for role in ("postgres", *ROLES)), encoding="utf-8")
        user = unprivileged_user()
        if user:
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_PROGRAM, configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
            )
        try:
            eventually(lambda: process.poll() is not None or (folder / ".s.PGSQL.6432").exists())
            assert process.poll() is None, log.read_text(encoding="utf-8")
            yield folder
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder)


def pooled_url(url: str, folder: Path) -> str:
    """The URL of the same database and role through the PgBouncer with this folder."""
    return f"{url.partition('?')[0]}?host={folder}&port=6432"
