"""Facts about the Postgres server and the role of the connection, for checks of a deployment."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Transport:
    """How a connection reaches Postgres, or a pooler before it.

    Attributes:
        address: IP address of the peer; empty for a Unix socket.
        encrypted: whether the connection has TLS.
        sslmode: the option of the URL or of the environment, or libpq's default `prefer`.
    """

    address: str
    encrypted: bool
    sslmode: str

    @property
    def is_local(self) -> bool:
        """Whether no network lies between."""
        return not self.address or ip_address(self.address).is_loopback

    @property
    def is_verified(self) -> bool:
        """Whether libpq has verified the server's certificate."""
        return self.encrypted and self.sslmode in {"verify-ca", "verify-full"}


def transport(session: Session) -> Transport:
    """How the connection of a session reaches the server."""
    driver: Any = session.connection().connection.driver_connection
    options = {option.keyword: option.val for option in driver.pgconn.info}
    return Transport(
        address=driver.pgconn.hostaddr.decode(),
        encrypted=driver.pgconn.ssl_in_use,
        sslmode=(options[b"sslmode"] or b"").decode(),
    )


def server_version(session: Session) -> int:
    """The version as Postgres numbers it: 150004 is 15.4."""
    return int(session.scalars(text("SHOW server_version_num")).one())


def server_time(session: Session) -> datetime:
    """The clock of the server, with a time zone."""
    now: datetime = session.scalars(text("SELECT clock_timestamp()")).one()
    return now


def encoding(session: Session) -> str:
    """The encoding of the database, such as `UTF8`."""
    return str(session.scalars(text("SHOW server_encoding")).one())


def has_time_limits(session: Session) -> bool:
    """Whether statements wait for locks, and transactions for their client, for a limited time only."""
    names = ["lock_timeout", "idle_in_transaction_session_timeout"]
    return "0" not in session.scalars(
        text("SELECT setting FROM pg_settings WHERE name = ANY(:names)"), {"names": names}
    )


def connections(session: Session) -> tuple[int, int]:
    """Returns how many connections the server has, of all its databases, and how many it allows to roles like ours.

    The limit leaves out the connections that are reserved for superusers and, from Postgres 16, for other roles.
    """
    # pg_stat_activity hides the kind of other roles' sessions; these numbers may include a worker of Postgres
    used, allowed = session.execute(
        text(
            "SELECT (SELECT sum(numbackends) FROM pg_stat_database), current_setting('max_connections')::int "
            "- current_setting('superuser_reserved_connections')::int "
            "- coalesce(current_setting('reserved_connections', true)::int, 0)"
        )
    ).one()
    return int(used), int(allowed)


def current_role(session: Session) -> tuple[str, bool]:
    """Returns the role, and whether it can change append-only history: a superuser, or the owner of the tables."""
    name, can_change_history = session.execute(
        text(
            "SELECT rolname, rolsuper OR EXISTS (SELECT FROM pg_tables WHERE tablename = 'decision' "
            "AND pg_has_role(current_user, tableowner, 'MEMBER')) FROM pg_roles WHERE rolname = current_user"
        )
    ).one()
    return str(name), bool(can_change_history)


def restrict_to_reads(session: Session, *, statement_timeout_ms: int) -> None:
    """Makes the transaction read-only and limits the time of each statement. Call it first in the transaction."""
    session.execute(text("SET TRANSACTION READ ONLY"))
    session.execute(text(f"SET LOCAL statement_timeout = {statement_timeout_ms:d}"))
