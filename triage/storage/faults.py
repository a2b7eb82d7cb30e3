"""What an error of Postgres or of its driver means: the only place that reads SQLSTATE and texts of the driver.

Once connected, SQLSTATE is the evidence. A failed connection has none, because libpq does not report it, so its text is
the evidence. The driver's own texts are English; the server's are in the language of its setting `lc_messages`. A
refusal in another language is still recognised as one, only without its reason.
"""

import re
from typing import Final, cast

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError

from triage.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    DefectError,
    Fault,
    InsufficientPrivilegeError,
    TablesOutdatedError,
    TriageError,
    UsageError,
)

_REFUSALS: Final = (
    (r"no password supplied", Fault.NO_PASSWORD, "Postgres requires a password: add it to the database URL"),
    (
        r"(password|SASL) authentication failed",
        Fault.WRONG_PASSWORD,
        "Postgres refuses the role or the password: correct the database URL, or set the role's password in Postgres",
    ),
    (
        r'role ".*" does not exist|no such user',
        Fault.UNKNOWN_ROLE,
        "the database role does not exist: create it, or correct the database URL",
    ),
    (
        r"is not permitted to log in",
        Fault.UNKNOWN_ROLE,
        "the database role may not log in: grant it LOGIN, or correct the database URL",
    ),
    (
        r'database ".*" does not exist|no such database',
        Fault.UNKNOWN_DATABASE,
        "the database does not exist: create it, or correct the database URL",
    ),
    (
        r"permission denied for database|does not have CONNECT privilege|not currently accepting connections",
        Fault.NO_PRIVILEGE,
        "the database role may not connect to this database: grant it CONNECT, or correct the database URL",
    ),
    (
        r"pg_hba\.conf.*SSL encryption",
        Fault.NOT_ALLOWED,
        "pg_hba.conf of Postgres has no entry for this role, database, host and TLS mode: add one, or correct the URL",
    ),
    (
        r"pg_hba\.conf.*no encryption",
        Fault.NOT_ALLOWED,
        "pg_hba.conf of Postgres does not allow this role without TLS: change sslmode in the URL, or add an entry",
    ),
    (
        r"certificate verify failed",
        Fault.UNTRUSTED_CERTIFICATE,
        "the certificate of Postgres is not trusted: set sslrootcert in the database URL to its authority",
    ),
    (
        r"does not match host name",
        Fault.UNTRUSTED_CERTIFICATE,
        "the certificate of Postgres is for another host: use a host name of the certificate in the database URL",
    ),
    (
        r"root certificate file|could not (load|read) (the )?(system )?root certificate",
        Fault.NO_CERTIFICATE,
        "the file with the authority of Postgres cannot be read: set sslrootcert in the database URL",
    ),
    (
        r"valid client certificate|could not (read|load) (certificate|private key) file|private key file",
        Fault.NO_CERTIFICATE,
        "Postgres requires a client certificate: set sslcert and sslkey in the database URL to readable files",
    ),
    (
        r"server does not support SSL",
        Fault.TLS,
        "Postgres has no TLS, which sslmode in the database URL requires: turn on TLS in Postgres, or change sslmode",
    ),
    (
        r"SSL error|SSL negotiation|SSL SYSCALL",
        Fault.TLS,
        "the TLS connection to Postgres failed: check the host, the port and the options of TLS in the database URL",
    ),
    (r"invalid \w+ value|invalid connection option", Fault.SETTING, "an option of the database URL is invalid: fix it"),
    (
        r"unsupported startup parameter",
        Fault.SETTING,
        "PgBouncer rejects `options`: add it to ignore_startup_parameters",
    ),
)
"""Texts of a server or driver that refuses a connection, until a setting or Postgres is changed."""

_OUTAGES: Final = (
    (
        r"too many (clients|connections)|connection slots are reserved|no more connections allowed",
        Fault.TOO_MANY_CONNECTIONS,
        "Postgres has no free connection: raise max_connections, or lower the pool size",
    ),
    (
        r"database system is |recovery mode|not yet accepting connections",
        Fault.RESTARTING,
        "Postgres is starting or stopping: retry",
    ),
    (
        r"cannot connect to server|server login",
        Fault.UNREACHABLE,
        "the connection pooler cannot reach Postgres: read the log of the pooler",
    ),
    (
        r"failed to resolve host|could not translate host name",
        Fault.UNKNOWN_HOST,
        "the host name of Postgres cannot be resolved: correct the database URL, or the name service",
    ),
)
"""Texts of a failed connection that may succeed later without a change."""

_SERVER_TEXT: Final = re.compile(r"failed: [^\s:]+:  ")  # such as "FATAL:  ", in any language

_STATES: Final = {
    "57014": (Fault.TOO_SLOW, "Postgres cancelled a statement that took too long: retry"),
    "55P03": (
        Fault.LOCKED,
        "a table is locked, for example by a migration or a long transaction: retry when that has ended",
    ),
    "40P01": (Fault.LOCKED, "another transaction holds the same rows: retry"),
    "40001": (Fault.LOCKED, "another transaction changed the same rows: retry"),
    "XX000": (Fault.LOCKED, "another session changes the same roles or tables: retry"),  # concurrent GRANT or DDL
    "53100": (Fault.DISK_FULL, "the disk of Postgres is full: free some space"),
    "53200": (Fault.NO_MEMORY, "Postgres has not enough memory: give it more, or lower its settings for memory"),
    "53300": (
        Fault.TOO_MANY_CONNECTIONS,
        "Postgres has no free connection: raise max_connections, or lower the pool size",
    ),
    "25006": (Fault.READ_ONLY, "Postgres is read-only, as a standby is: connect to the primary"),
}
"""Errors of a statement that may succeed later, by SQLSTATE."""


def of_cursor(error: psycopg.Error) -> DBAPIError:
    """SQLAlchemy's error for one of a statement that a cursor of the driver has run."""
    made = DBAPIError.instance("", None, error, psycopg.Error, hide_parameters=True)
    return cast("DBAPIError", made.with_traceback(error.__traceback__))


def translated(error: DBAPIError) -> TriageError:
    """The error of this product for one of the driver. Its text contains no part of a statement, a row or a URL."""
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in _STATES and (state != "XX000" or "concurrently" in str(error.orig)):
        kind, text = _STATES[state]
        return DatabaseUnavailableError(text, kind)
    if error.statement is None and not state and isinstance(error, OperationalError):
        return _failed_connection(str(error.orig))
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return DatabaseUnavailableError("Postgres closed the connection: retry", Fault.DISCONNECTED)
    if state == "42P01":
        return TablesOutdatedError("a table is missing: the database is empty or of an older release: upgrade it")
    if state == "42703":
        return TablesOutdatedError("a column is missing: the database and this release differ: upgrade the older one")
    if state == "42501":
        return InsufficientPrivilegeError(
            "permission denied for this database role: connect as the role that this operation requires"
        )
    if isinstance(error, DataError):
        return UsageError("a value cannot be stored: it is out of range or contains U+0000")
    return DefectError(f"Postgres refused a statement (SQLSTATE {state or 'unknown'})", error.__traceback__)


def _failed_connection(text: str) -> DatabaseUnavailableError:
    for pattern, kind, remedy in _REFUSALS:
        if re.search(pattern, text):
            return DatabaseRefusedError(remedy, kind)
    for pattern, kind, remedy in _OUTAGES:
        if re.search(pattern, text):
            return DatabaseUnavailableError(remedy, kind)
    if _SERVER_TEXT.search(text):
        return DatabaseRefusedError("Postgres refuses the connection: read its log for the reason", Fault.REFUSED)
    return DatabaseUnavailableError("Postgres does not respond: start it or correct the database URL")
