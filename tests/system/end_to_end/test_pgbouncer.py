"""The product behind a real PgBouncer, which gives each transaction another session, or each client its own."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, aclosing
from pathlib import Path
from typing import TypeAlias
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, func, select, text

from tests.support.command_line import Result
from tests.support.deployment import Deployment, eventually
from tests.support.pgbouncer import pgbouncer, pooled_url
from triage.storage import migrate
from triage.storage.announcements import ASSESSED, announced
from triage.storage.database import create_database_engine
from triage.storage.locks import try_lock
from triage.storage.role_names import MIGRATOR
from worker.doctor.problems import run_check
from worker.doctor.services import check_postgres
from worker.services import Services
from worker.settings import Settings
from worker.state_folder import StateFolder

pytestmark = pytest.mark.long

Triage: TypeAlias = Callable[..., Result]

# as docs/operations/install.md asks for
CONFIGURATION = "ignore_startup_parameters = options"


@pytest.fixture(params=["transaction", "session"])
def folder(request: pytest.FixtureRequest, embedded: StateFolder) -> Iterator[Path]:
    """The folder of a running PgBouncer."""
    with pgbouncer(embedded, request.param, CONFIGURATION) as folder:
        yield folder


@pytest.fixture
def settings(settings: Settings, folder: Path) -> Settings:
    """Everything in this module reaches Postgres through PgBouncer."""
    return _through(settings, folder)


def _through(settings: Settings, folder: Path) -> Settings:
    url = SecretStr(pooled_url(settings.database_url, folder))
    return settings.model_copy(update={"database": settings.database.model_copy(update={"url": url})})


# of this test's database
LOCKS = (
    "SELECT count(*) AS n FROM pg_locks JOIN pg_database d ON d.oid = database "
    "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
)


def test_message_passes_every_step(
    deploy: Callable[..., AbstractContextManager[Deployment]],
    triage: Triage,
    jpeg: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    photos = [tmp_path / f"{number}.jpg" for number in range(20)]
    for number, photo in enumerate(photos):
        photo.write_bytes(jpeg(number))
    with deploy("scoring", "intake") as site:
        for number, photo in enumerate(photos):
            assert triage("enqueue", photo, "--message-id", f"m-{number}", "--source", "ehr").code == 0
        for number in range(len(photos)):
            assert eventually(lambda number=number: site.outcome(f"m-{number}")) == "retake"  # type: ignore[misc]

        for _ in photos[1:]:
            [claimed] = triage("retakes", "claim", "--by", "ehr", "--limit", "1", "--json").json
            assert triage("retakes", "ack", claimed["id"], "--token", claimed["token"]).code == 0
        assert triage("override", "m-1", "--decision", "pass", "--by", "nurse-1", "--reason", "sharp").code == 0
        for number in range(len(photos)):
            assert triage("forget", f"m-{number}", "--by", "op-1", "--reason", "request-1").code == 0
        assert triage("report", "--format", "json").json["messages"]["total"] == len(photos)
        assert triage("audit", "verify").code == 0
        assert site.query("SELECT status, count(*) FROM retake_request GROUP BY status ORDER BY status") == [
            ("sent", len(photos) - 1),
            ("withdrawn", 1),
        ]


def test_training_run_keeps_its_lease_and_its_device(
    deploy: Callable[..., AbstractContextManager[Deployment]],
    triage: Triage,
    model_folder: Path,
    jpeg: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    rows = ["path,votes,split"]
    for seed, vote in enumerate([0, 4, 3, 1, 0, 4]):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed))
        rows.append(f"{seed}.jpg,{vote},{'train' if seed < 4 else 'validation'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    with deploy("training") as site:
        options = ["--manifest", tmp_path / "manifest.csv", "--name", "ours", "--init", model_folder]
        assert triage("train", *options, "--by", "op-1", "--epochs", "40").code == 0
        assert eventually(lambda: site.query("SELECT FROM run WHERE status = 'running'"))
        assert site.query(LOCKS)[0].n == 1
        assert eventually(lambda: site.query("SELECT FROM run WHERE status = 'done'"))
        assert eventually(lambda: site.query(LOCKS)[0].n == 0)
        assert site.query("SELECT attempts FROM run") == [(1,)]


def test_lock_excludes_others_and_is_free_at_once_after_its_release(services: Services, settings: Settings) -> None:
    with Services(settings) as others:
        for _ in range(50):
            with try_lock(services.engine, "a device") as first:
                assert first is not None
                for _ in range(3):
                    with try_lock(others.engine, "a device") as second:
                        assert second is None
            with try_lock(others.engine, "a device") as third:
                assert third is not None


def test_listener_past_the_pooler_hears_of_what_is_written_through_it(services: Services, database_url: str) -> None:
    async def listen() -> UUID | None:
        async with aclosing(announced(database_url)) as heard:
            assert await anext(heard) is None  # listens
            with services.sessions.begin() as session:
                session.execute(select(func.pg_notify(ASSESSED, str(id_))))
            return await anext(heard)

    id_ = uuid4()

    assert asyncio.run(asyncio.wait_for(listen(), 60)) == id_


def test_roles_and_schema_are_made_and_their_time_limits_hold(
    empty_engine: Engine, folder: Path, run_command: Triage, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = empty_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("TRIAGE_DATABASE__URL", pooled_url(direct, folder))
    assert run_command("db", "roles").code == 0

    url = pooled_url(direct.replace("postgres@", f"{MIGRATOR}@"), folder)
    command = [sys.executable, "-c", "from worker.cli import main; main()", "db", "upgrade"]
    with ExitStack() as stack:
        upgrades = [
            stack.enter_context(subprocess.Popen(command, env=os.environ | {"TRIAGE_DATABASE__URL": url}))
            for _ in range(2)
        ]
    assert [upgrade.returncode for upgrade in upgrades] == [0, 0]
    assert migrate.is_current(empty_engine)

    engine = create_database_engine(url)
    for _ in range(10):
        with engine.connect() as connection:
            assert connection.scalars(text("SHOW lock_timeout")).one() == "30s"
            assert connection.scalars(text("SHOW timezone")).one() == "UTC"
    engine.dispose()


@pytest.mark.parametrize("folder", ["transaction"], indirect=True)
def test_doctor_reports_a_pooler_that_drops_the_time_limits(services: Services) -> None:
    check = run_check("postgres", lambda: check_postgres(services.sessions))

    assert (check.ok, check.remedy) == (False, "run `triage db roles`, then restart the pooler")


@pytest.mark.parametrize("folder", ["transaction"], indirect=True)
def test_error_names_the_missing_line_of_the_configuration(
    embedded: StateFolder, settings: Settings, environment: Callable[[str, str], None], run_command: Triage
) -> None:
    with pgbouncer(embedded, "transaction") as folder:
        environment("DATABASE__URL", pooled_url(settings.database_url, folder))
        result = run_command("report")

    assert "PgBouncer rejects `options`: add it to ignore_startup_parameters" in result.complaint()
