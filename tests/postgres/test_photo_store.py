import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from tests.support.databases import DatabasePool
from tests.support.object_store import Fault, ObjectStore
from tests.support.services import make_settings
from triage.blobs.store import BlobStore
from triage.domain.messages import Acceptance, IncomingAttachment, IncomingMessage
from triage.errors import BlobStoreUnavailableError, NoLiveModelError, WrongBlobStoreError
from triage.photo_store import PhotoStore
from triage.storage.database import Sessions
from worker.services import Services
from worker.settings import BlobSettings
from worker.state_folder import StateFolder
from worker.tasks.base import WorkerServices


@pytest.fixture
def folder(services: WorkerServices) -> Path:
    return Path(services.settings.blobs_url)


def _send(services: Services, message: str, photo: bytes) -> Acceptance:
    [acceptance] = services.intake.enqueue([IncomingMessage("ehr", message, [IncomingAttachment(data=photo)])])
    return acceptance


def _value(services: Services, query: str) -> Any:
    with services.sessions() as session:
        return session.execute(text(query)).scalar_one()


def _replace_by_empty_folder(folder: Path) -> Path:
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    return away


def test_first_photo_sets_the_store_up(services: WorkerServices, folder: Path) -> None:
    assert not services.photo_store.check()
    assert not folder.exists()

    _send(services, "m", b"photo")

    assert services.photo_store.check()
    assert _value(services, "SELECT marker::text FROM photo_store") == (folder / "triage-store-id").read_text().strip()


@pytest.mark.parametrize("is_there", [True, False])
def test_nothing_is_accepted_or_written_when_the_volume_is_not_mounted(
    services: WorkerServices, folder: Path, is_there: bool
) -> None:
    _send(services, "m", b"photo")
    away = _replace_by_empty_folder(folder)
    if not is_there:
        folder.rmdir()

    with pytest.raises(WrongBlobStoreError, match="empty or not mounted"):
        _send(services, "n", b"other photo")
    assert not list(folder.rglob("*"))
    assert _value(services, "SELECT count(*) FROM message") == 1

    shutil.rmtree(folder, ignore_errors=True)
    away.rename(folder)
    _send(services, "n", b"other photo")


def test_drain_claims_nothing_when_the_volume_is_not_mounted(services: WorkerServices, folder: Path) -> None:
    _send(services, "m", b"photo")
    away = _replace_by_empty_folder(folder)

    with pytest.raises(WrongBlobStoreError):
        services.scoring.drain()

    folder.rmdir()
    away.rename(folder)
    with pytest.raises(NoLiveModelError):  # it gets as far as the model
        services.scoring.drain()


def test_photo_is_not_recorded_as_purged_when_another_volume_is_mounted(
    services: WorkerServices, folder: Path, jpeg: Callable[..., bytes]
) -> None:
    _send(services, "m", b"photo")
    with services.sessions.begin() as session:
        session.execute(text("UPDATE blob SET purge_after = now()"))
        session.execute(
            text("UPDATE attachment SET status = 'not_assessable', error_code = 'corrupt', finished_at = now()")
        )
    away = _replace_by_empty_folder(folder)

    with pytest.raises(WrongBlobStoreError):
        services.retention.purge(actor="op-1")
    with pytest.raises(WrongBlobStoreError):
        services.retention.remove(actor="op-1")
    assert _value(services, "SELECT count(purged_at) FROM blob") == 0

    folder.rmdir()
    away.rename(folder)
    assert services.retention.purge(actor="op-1").photos == 1


def test_store_of_another_database_is_refused_and_keeps_its_photos(
    services: WorkerServices, folder: Path, embedded: StateFolder, database_pool: DatabasePool
) -> None:
    other_name = database_pool.take()
    _send(services, "m", b"photo")
    with WorkerServices(make_settings(embedded, other_name, folder.parent)) as other:
        with other.sessions.begin() as session:  # all databases of the tests are copies of one
            session.execute(text("UPDATE photo_store SET marker = gen_random_uuid()"))
        with pytest.raises(WrongBlobStoreError, match="another database"):
            _send(other, "n", b"photo")
        assert other.retention.purge(actor="op-1").strays == 0
        other.photo_store.adopt(by="op-1")
        _send(other, "n", b"photo")
    database_pool.give_back(other_name)

    with pytest.raises(WrongBlobStoreError, match="another database"):
        services.photo_store.check()


def test_restored_copy_is_adopted_and_the_old_volume_refused(services: WorkerServices, folder: Path) -> None:
    _send(services, "m", b"photo")
    away = _replace_by_empty_folder(folder)
    running = PhotoStore(services.sessions, services.blobs)  # of another process
    with pytest.raises(WrongBlobStoreError):
        running.check()

    id_ = services.photo_store.adopt(by="op-1")

    assert running.check()
    event = "SELECT count(*) FROM audit_event WHERE action = 'store.adopted' AND actor = 'op-1' AND subject_id = "
    assert _value(services, f"{event} '{id_}'") == 1
    shutil.rmtree(folder)
    away.rename(folder)
    with pytest.raises(WrongBlobStoreError, match="another database"):
        services.photo_store.check()


def test_process_that_still_has_the_replaced_volume_refuses_it(services: WorkerServices, folder: Path) -> None:
    _send(services, "m", b"photo")
    restored = BlobStore(str(folder.with_name("restored")))
    (folder.with_name("restored")).mkdir()
    assert services.photo_store.check()

    PhotoStore(services.sessions, restored).adopt(by="op-1")

    with pytest.raises(WrongBlobStoreError, match="another database"):
        services.photo_store.check()


def test_missing_folder_is_not_adopted(services: WorkerServices, folder: Path) -> None:
    with pytest.raises(BlobStoreUnavailableError):
        services.photo_store.adopt(by="op-1")
    assert not folder.exists()


def test_store_is_the_right_one_when_another_process_sets_it_up_during_the_check(
    sessions: Sessions, tmp_path: Path
) -> None:
    class RacingStore(BlobStore):
        has_lost = False

        def marker(self) -> UUID | None:
            found = super().marker()
            if not self.has_lost:
                self.has_lost = True
                PhotoStore(sessions, BlobStore(str(tmp_path / "blobs"))).set_up()
            return found

    store = RacingStore(str(tmp_path / "blobs"))
    PhotoStore(sessions, store).set_up()

    assert store.has_lost
    assert store.marker() is not None


def test_store_is_set_up_once_when_processes_race(services: WorkerServices, folder: Path) -> None:
    stores = [PhotoStore(services.sessions, services.blobs) for _ in range(8)]
    barrier = threading.Barrier(len(stores))

    def set_up(store: PhotoStore) -> bool:
        barrier.wait()
        store.set_up()
        return store.check()

    with ThreadPoolExecutor(len(stores)) as pool:
        assert all(pool.map(set_up, stores))


def test_set_up_is_completed_when_it_was_interrupted_before_its_commit(services: WorkerServices, folder: Path) -> None:
    with services.sessions() as session:
        id_ = session.execute(text("SELECT marker FROM photo_store")).scalar_one()
    services.blobs.mark(id_)

    services.photo_store.set_up()

    assert services.photo_store.check()


def test_empty_store_of_another_database_is_not_set_up(services: WorkerServices) -> None:
    services.blobs.mark(uuid4())

    with pytest.raises(WrongBlobStoreError, match="another database"):
        services.photo_store.set_up()


@pytest.mark.parametrize("fault", Fault)
def test_nothing_is_accepted_and_nothing_is_lost_while_an_object_store_fails(
    services: WorkerServices, object_store: ObjectStore, fault: Fault
) -> None:
    settings = services.settings.model_copy(update={"blobs": BlobSettings(url=f"s3://photos/{uuid4().hex}")})
    with WorkerServices(settings) as remote:
        _send(remote, "m", b"photo")
        limit = 30 if fault is Fault.NO_BUCKET else 1
        running = PhotoStore(remote.sessions, BlobStore(settings.blobs_url, seconds=limit))
        with object_store.failing(fault):
            with pytest.raises(WrongBlobStoreError if fault is Fault.NO_BUCKET else BlobStoreUnavailableError):
                running.check()
            if fault is not Fault.SLOW:  # with its usual time limit
                with pytest.raises(BlobStoreUnavailableError):
                    _send(remote, "n", b"other photo")
        assert remote.photo_store.check()
        assert _value(remote, "SELECT count(*) FROM message") == 1
