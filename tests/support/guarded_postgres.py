"""A Postgres that refuses: with passwords, pg_hba.conf, closed databases and, if its programs have it, TLS."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

from tests.support.certificates import make_certificate
from tests.support.deployment import eventually
from tests.support.secured_redis import free_port
from worker.embedded.postgres import EmbeddedPostgres
from worker.state_folder import StateFolder, unprivileged_user

PASSWORD: Final = "swordfish"

_HBA: Final = """
local   all postgres                trust
host    all banned     127.0.0.1/32 reject
hostssl all tls_only   127.0.0.1/32 trust
host    all trusted    127.0.0.1/32 trust
host    all no_login   127.0.0.1/32 trust
host    all absent     127.0.0.1/32 trust
host    all secured    127.0.0.1/32 scram-sha-256
"""
_ROLES: Final = ("banned", "tls_only", "trusted", "secured")


@dataclass(frozen=True)
class GuardedPostgres:
    """A running server on TCP.

    Attributes:
        port: on 127.0.0.1.
        certificates: folder with `server.pem`, which is the server's own authority, and `other.pem`.
        has_tls: whether its programs can do TLS.
    """

    folder: Path
    port: int
    certificates: Path
    has_tls: bool

    def url(self, role: str, database: str = "postgres", *, port: int | None = None, **options: str) -> str:
        """The URL of a role, which may be `role:password`."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql+psycopg://{role}@127.0.0.1:{port or self.port}/{database}?{query}"

    def set_tls(self, *, on: bool) -> None:
        self.execute(f"ALTER SYSTEM SET ssl = {on}", "SELECT pg_reload_conf()")
        eventually(lambda: self._tls_is(on))

    def _tls_is(self, on: bool) -> bool:
        with _superuser(self.folder, self.port) as connection:
            [[setting]] = connection.execute("SHOW ssl")
            return bool(setting == ("on" if on else "off"))

    def execute(self, *statements: str) -> None:
        """Runs statements as the superuser."""
        with _superuser(self.folder, self.port) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement))


@pytest.fixture(scope="module")
def guarded_postgres(embedded: StateFolder) -> Iterator[GuardedPostgres]:
    """Debian's Postgres, which has TLS, or else that of the wheel, which has none."""
    programs, has_tls = _programs(embedded)
    folder = Path(
        tempfile.mkdtemp(prefix="triage-guarded-", dir="/var/tmp")
    )  # the user of root's Postgres can enter it
    user = unprivileged_user()
    identity: dict[str, Any] = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    certificate, key = make_certificate(folder / "tls", "server")
    make_certificate(folder / "tls", "other")
    if user:
        for path in (folder, folder / "tls", certificate, key):
            os.chown(path, user.pw_uid, user.pw_gid)
    key.chmod(0o600)
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        "--locale=C",
    ]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **identity)
    (folder / "data" / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
    port = free_port()
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    if has_tls:
        settings |= {"ssl_cert_file": certificate, "ssl_key_file": key}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", *options], stdout=log, stderr=log, cwd=folder, **identity
        )
    try:
        eventually(lambda: _answers(folder, port))
        postgres = GuardedPostgres(folder, port, folder / "tls", has_tls)
        postgres.set_tls(on=has_tls)
        postgres.execute(
            *(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'" for role in _ROLES),
            "CREATE ROLE no_login",
            "CREATE DATABASE closed",
            "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
        )
        yield postgres
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


def _programs(state: StateFolder) -> tuple[Path, bool]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return (found[-1].parent, True) if found else (EmbeddedPostgres(state)._programs(), False)


def _superuser(folder: Path, port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=str(folder), port=port, user="postgres", client_encoding="utf8", autocommit=True, connect_timeout=5
    )


def _answers(folder: Path, port: int) -> bool:
    with suppress(psycopg.OperationalError):
        _superuser(folder, port).close()
        return True
    return False
