"""A service that refuses this process is told from one that does not respond: text, kind and exit code."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.support.command_line import Result
from tests.support.guarded_postgres import PASSWORD, GuardedPostgres
from tests.support.secured_redis import SecuredRedis, free_port
from triage.errors import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    Fault,
    InsufficientPrivilegeError,
    ServiceRefusedError,
    TablesNewerError,
    TablesOutdatedError,
)
from triage.storage import migrate, server
from triage.storage.database import create_database_engine, create_sessions, database_errors
from triage.storage.locks import SCHEMA_LOCK, wait_for_lock
from triage.storage.role_names import WORKER
from worker.broker.faults import RedisRefusedError, RedisUnavailableError, redis_fault
from worker.broker.redis_client import connect_redis
from worker.doctor.problems import ProblemError
from worker.doctor.services import check_postgres, describe_transport
from worker.services import Services
from worker.settings import DatabaseSettings, Settings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices

Url = Callable[[GuardedPostgres], str]

REFUSALS: dict[str, tuple[Url, Fault, str]] = {
    "wrong password": (lambda p: p.url("secured:wrong"), Fault.WRONG_PASSWORD, "refuses the role or the password"),
    "no password": (lambda p: p.url("secured"), Fault.NO_PASSWORD, "requires a password"),
    "missing role": (lambda p: p.url("absent"), Fault.UNKNOWN_ROLE, "the database role does not exist"),
    "role without login": (lambda p: p.url("no_login"), Fault.UNKNOWN_ROLE, "may not log in"),
    "unknown database": (lambda p: p.url("trusted", "absent"), Fault.UNKNOWN_DATABASE, "the database does not exist"),
    "closed database": (lambda p: p.url("trusted", "closed"), Fault.NO_PRIVILEGE, "may not connect to this database"),
    "rejected role": (lambda p: p.url("banned"), Fault.NOT_ALLOWED, "pg_hba.conf"),
    "unlisted role": (lambda p: p.url("stranger"), Fault.NOT_ALLOWED, "pg_hba.conf"),
    "unknown option": (lambda p: p.url("trusted", sslmode="maybe"), Fault.SETTING, "an option of the database URL"),
    "missing file of the authority": (
        lambda p: p.url("trusted", sslmode="verify-full", sslrootcert="/nonexistent"),
        Fault.NO_CERTIFICATE,
        "sslrootcert",
    ),
}
WITH_TLS: dict[str, tuple[Url, Fault, str]] = {
    "no TLS where it is required": (
        lambda p: p.url("tls_only", sslmode="disable"),
        Fault.NOT_ALLOWED,
        "without TLS: change sslmode",
    ),
    "untrusted authority": (
        lambda p: p.url("trusted", sslmode="verify-full", sslrootcert=str(p.certificates / "other.pem")),
        Fault.UNTRUSTED_CERTIFICATE,
        "is not trusted: set sslrootcert",
    ),
    "certificate of another host": (
        lambda p: p.url(
            "trusted",
            host="elsewhere.test",
            hostaddr="127.0.0.1",
            port=None,
            sslmode="verify-full",
            sslrootcert=str(p.certificates / "server.pem"),
        ).replace("@127.0.0.1:", "@elsewhere.test:"),
        Fault.UNTRUSTED_CERTIFICATE,
        "is for another host",
    ),
}


def _refusal(url: str) -> Exception:
    engine = create_database_engine(url)
    with pytest.raises(DatabaseUnavailableError) as raised, database_errors(), engine.connect():
        pass
    return raised.value


@pytest.mark.parametrize("name", [*REFUSALS, *WITH_TLS])
def test_refusal_of_postgres_has_its_text_and_exit_code(
    guarded_postgres: GuardedPostgres, triage: Callable[..., Result], environment: Callable[[str, str], None], name: str
) -> None:
    if name in WITH_TLS and not guarded_postgres.has_tls:
        pytest.skip("this Postgres has no TLS: install that of Debian")
    make_url, kind, says = (REFUSALS | WITH_TLS)[name]
    url = make_url(guarded_postgres)

    error = _refusal(url)
    environment("DATABASE__URL", url)
    ended = triage("runs")

    assert isinstance(error, DatabaseRefusedError)
    assert error.kind == kind
    assert ended.code == 2
    assert says in ended.complaint()
    assert "start it" not in ended.complaint()
    assert not {"secured", "absent", "wrong", "stranger", "trusted@"} & set(re.findall(r"[\w@]+", ended.complaint()))


def test_postgres_without_tls_is_refused_when_the_url_requires_it(guarded_postgres: GuardedPostgres) -> None:
    guarded_postgres.set_tls(on=False)
    try:
        error = _refusal(guarded_postgres.url("trusted", sslmode="require"))
    finally:
        guarded_postgres.set_tls(on=guarded_postgres.has_tls)

    assert isinstance(error, DatabaseRefusedError)
    assert error.kind == Fault.TLS
    assert "turn on TLS" in str(error)


@pytest.mark.parametrize(
    ("sslmode", "encrypted", "says"),
    [
        ("disable", False, "as the database URL says"),
        ("allow", False, None),
        ("prefer", True, None),
        ("require", True, None),
        ("verify-ca", True, "is verified"),
        ("verify-full", True, "is verified"),
    ],
)
def test_transport_is_wrong_when_another_host_is_reached_without_a_verified_certificate(
    guarded_postgres: GuardedPostgres, sslmode: str, encrypted: bool, says: str | None
) -> None:
    if not guarded_postgres.has_tls:
        pytest.skip("this Postgres has no TLS: install that of Debian")
    url = guarded_postgres.url("trusted", sslmode=sslmode)
    if sslmode.startswith("verify"):
        url += f"&sslrootcert={guarded_postgres.certificates}/server.pem"
    engine = create_database_engine(url)

    try:
        with create_sessions(engine)() as session:
            transport = server.transport(session)
    finally:
        engine.dispose()  # the server ends when its clients have

    assert transport == server.Transport("127.0.0.1", encrypted, sslmode)
    assert describe_transport(transport) == "stays on this host"
    elsewhere = replace(transport, address="10.0.0.5")
    if says:
        assert says in describe_transport(elsewhere)
    else:
        with pytest.raises(ProblemError, match="not verified" if encrypted else "not encrypted") as raised:
            describe_transport(elsewhere)
        assert "sslmode=verify-full" in raised.value.remedy


def test_transport_over_a_socket_is_local(services: WorkerServices) -> None:
    with services.sessions() as session:
        transport = server.transport(session)

    assert transport == server.Transport("", False, "prefer")
    assert describe_transport(transport) == "stays on this host"


def test_database_that_is_not_utf8_is_named(guarded_postgres: GuardedPostgres) -> None:
    """As on a Debian host without a locale: Postgres then makes databases in SQL_ASCII."""
    services = Services(Settings(database=DatabaseSettings(url=SecretStr(guarded_postgres.url("trusted")))))

    with services, pytest.raises(ProblemError, match="SQL_ASCII") as raised:
        check_postgres(services.sessions)

    assert "UTF8" in raised.value.remedy


def test_refusal_in_another_language_is_no_outage() -> None:
    from sqlalchemy.exc import OperationalError

    german = 'connection to server at "10.0.0.1", port 5432 failed: FATAL:  Passwort-Authentifizierung fehlgeschlagen'

    with pytest.raises(DatabaseRefusedError, match="read its log") as raised, database_errors():
        raise OperationalError(None, None, Exception(german))

    assert raised.value.kind == Fault.REFUSED


def test_postgres_that_does_not_respond_is_an_outage(
    triage: Callable[..., Result], environment: Callable[[str, str], None]
) -> None:
    for url, says in (
        (f"postgresql+psycopg://u@127.0.0.1:{free_port()}/n", "start it"),
        ("postgresql+psycopg://u@nowhere.invalid/n", "cannot be resolved"),
    ):
        environment("DATABASE__URL", url)
        ended = triage("runs")
        assert ended.code == 3
        assert says in ended.complaint()


def test_statement_that_waits_for_a_lock_names_the_lock(database_url: str) -> None:
    first, second = (create_database_engine(database_url) for _ in range(2))
    with first.begin() as holder, second.connect() as waiter:
        holder.execute(text("LOCK TABLE message"))
        waiter.execute(text("SET lock_timeout = '10ms'"))
        with pytest.raises(DatabaseUnavailableError, match="a table is locked") as raised, database_errors():
            waiter.execute(text("SELECT 1 FROM message"))
    assert raised.value.kind == Fault.LOCKED
    first.dispose()
    second.dispose()


def test_read_only_postgres_is_named(database_url: str) -> None:
    engine = create_database_engine(database_url)
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DatabaseUnavailableError, match="read-only") as raised, database_errors():
            connection.execute(text("CREATE TABLE t (i integer)"))
    assert raised.value.kind == Fault.READ_ONLY
    engine.dispose()


def test_missing_privilege_is_a_refusal(
    embedded: StateFolder, database: str, database_url: str, triage: Callable[..., Result]
) -> None:
    """As after an upgrade that was killed before it granted the privileges."""
    owner = create_database_engine(database_url)
    with owner.begin() as connection:
        connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {WORKER}"))
    owner.dispose()

    ended = triage("runs")
    doctor = {check["name"]: check for check in triage("doctor", "--json").json}

    assert ended.code == 2
    assert "permission denied" in ended.complaint()
    assert "`triage db upgrade` grants their privileges" in ended.complaint()
    assert "permission denied" in doctor["tables"]["detail"]
    worker = create_database_engine(embedded.database_url(database, role=WORKER))
    with pytest.raises(InsufficientPrivilegeError) as raised, database_errors(), worker.connect() as connection:
        connection.execute(text("SELECT 1 FROM message"))
    assert isinstance(raised.value, ServiceRefusedError)  # a worker keeps its work and retries
    worker.dispose()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("DROP TABLE alembic_version", TablesOutdatedError, "the database has no schema: upgrade it"),
        ("UPDATE alembic_version SET version_num = 'older'", TablesOutdatedError, "is older than this release"),
        ("UPDATE alembic_version SET version_num = 'newer'", TablesNewerError, "is of a newer release"),
    ],
)
def test_schema_of_another_release_has_its_text(
    database_url: str,
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(migrate, "_older_revisions", lambda: frozenset({None, "older"}))
    engine = create_database_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text(change))

    with pytest.raises(error, match=says):
        migrate.check_current(engine)
    environment("DATABASE__URL", database_url)
    doctor = {check["name"]: check for check in triage("doctor", "--json").json}
    assert says.partition(":")[0] in doctor["tables"]["detail"]
    if error is TablesNewerError:
        ended = triage("db", "upgrade")
        assert (ended.code, says in ended.complaint()) == (2, True)
    engine.dispose()


def test_running_upgrade_is_named(database_url: str) -> None:
    engine = create_database_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))

    with (
        wait_for_lock(engine, SCHEMA_LOCK),
        pytest.raises(TablesOutdatedError, match="is being upgraded: wait"),
        engine.connect() as connection,
    ):
        migrate.check_current(engine)
    with pytest.raises(TablesOutdatedError, match="has no schema"):
        migrate.check_current(engine)
    engine.dispose()


def _fault(settings: Settings, url: str, ca_file: Path | None = None) -> RedisUnavailableError:
    redis = settings.redis.model_copy(update={"url": SecretStr(url), "ca_file": ca_file, "socket_timeout_seconds": 1.0})
    with connect_redis(settings.model_copy(update={"redis": redis})) as client, pytest.raises(Exception) as raised:  # noqa: PT011  # any, which the fault names
        client.set(f"{redis.key_prefix}x", 1, ex=1)
    return redis_fault(raised.value)


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("redis://:wrong@{plain}/0", Fault.WRONG_PASSWORD),
        ("redis://stranger:x@{plain}/0", Fault.WRONG_PASSWORD),
        ("redis://{plain}/0", Fault.NO_PASSWORD),
        ("redis://limited:pw@{plain}/0", Fault.NO_PRIVILEGE),
        ("redis://:swordfish@{plain}/99", Fault.UNKNOWN_DATABASE),
        ("rediss://:swordfish@{plain}/0", Fault.TLS),
        ("rediss://:swordfish@{tls}/0", Fault.UNTRUSTED_CERTIFICATE),
    ],
)
def test_refusal_of_redis_has_its_kind(settings: Settings, secured_redis: SecuredRedis, form: str, kind: Fault) -> None:
    url = form.format(plain=f"127.0.0.1:{secured_redis.plain_port}", tls=secured_redis.url.rpartition("@")[2][:-2])

    fault = _fault(settings, url)

    assert isinstance(fault, RedisRefusedError)
    assert fault.kind == kind
    assert "start it" not in str(fault)


def test_redis_that_requires_tls_is_no_redis_that_is_down(settings: Settings, secured_redis: SecuredRedis) -> None:
    fault = _fault(settings, secured_redis.url.replace("rediss://", "redis://"))

    assert fault.kind == Fault.DISCONNECTED
    assert "use rediss:// if its port requires TLS" in str(fault)
    assert "start it" not in str(fault)


def test_redis_that_is_down_is_an_outage(settings: Settings) -> None:
    fault = _fault(settings, f"redis://127.0.0.1:{free_port()}/0")

    assert not isinstance(fault, RedisRefusedError)
    assert fault.kind == Fault.UNREACHABLE
    assert "start it" in str(fault)


def test_doctor_tells_refusals_from_outages_and_never_names_itself(
    guarded_postgres: GuardedPostgres,
    secured_redis: SecuredRedis,
    triage: Callable[..., Result],
    environment: Callable[[str, str], None],
    services: WorkerServices,
) -> None:
    services.photo_store.set_up()
    environment("DATABASE__URL", guarded_postgres.url("secured:wrong"))
    environment("REDIS__URL", f"redis://:wrong@127.0.0.1:{secured_redis.plain_port}/0")

    ended = triage("doctor", "--json")
    checks: dict[str, Any] = {check["name"]: check for check in ended.json}

    assert ended.code == 2
    assert "refuses the role or the password" in checks["postgres"]["detail"]
    assert "refuses the user or the password" in checks["redis"]["detail"]
    assert checks["tables"]["detail"] == "not checked: postgres refuses this process"
    assert checks["workers"]["detail"] == "not checked: redis refuses this process"
    assert "triage doctor" not in ended.out
    assert "start it" not in ended.out
    assert "swordfish" not in ended.out + ended.err
    assert PASSWORD not in ended.out


@pytest.mark.parametrize("variable", ["CA_FILE", "CERTIFICATE_FILE"])
def test_file_for_tls_that_cannot_be_read_is_named(
    triage: Callable[..., Result], environment: Callable[[str, str], None], tmp_path: Path, variable: str
) -> None:
    environment("REDIS__URL", "rediss://cache/0")
    environment(f"REDIS__{variable}", str(tmp_path / "absent.pem"))

    ended = triage("health", "beat")

    assert ended.code == 2
    assert f"TRIAGE_REDIS__{variable}" in ended.complaint()
