"""Checks of `triage doctor` on connections that run out and storage that goes away."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from triage.blobs.uris import UriPolicy
from triage.domain.checks import Check
from triage.domain.messages import IncomingAttachment, IncomingMessage
from triage.files.volumes import Volume
from worker.doctor.problems import run_check
from worker.doctor.services import check_connections
from worker.doctor.storage import check_blob_store, check_unread_photos, check_uri_roots, check_volumes
from worker.tasks.base import WorkerServices


def _check_store(services: WorkerServices) -> Check:
    return run_check("blob store", lambda: check_blob_store(services.photo_store, services.blobs))


def test_store_is_reported_as_not_set_up_and_no_folder_is_created(services: WorkerServices) -> None:
    check = _check_store(services)

    assert check.ok
    assert check.detail == "the first photo sets it up"
    folder = Path(services.settings.blobs_url)
    assert not folder.exists()

    folder.mkdir()
    assert _check_store(services).detail.startswith("writable")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("mount_point_is_left", [True, False])
def test_store_that_is_not_mounted_is_wrong_and_no_folder_is_created(
    services: WorkerServices, mount_point_is_left: bool
) -> None:
    services.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(data=b"photo")])])
    assert _check_store(services) == Check("blob store", ok=True, detail="writable")
    folder = Path(services.settings.blobs_url)
    folder.rename(folder.with_name("away"))
    if mount_point_is_left:
        folder.mkdir()

    check = _check_store(services)

    assert (check.ok, check.unreachable) == (False, True)
    assert "empty or not mounted" in check.detail
    assert "`triage blobs adopt`" in check.remedy
    assert folder.exists() == mount_point_is_left


def test_missing_share_and_unread_photos_are_wrong(services: WorkerServices, tmp_path: Path) -> None:
    uris = UriPolicy([(tmp_path / name).as_uri() for name in ("there", "away")], max_bytes=1)
    (tmp_path / "there").mkdir()
    services.intake.enqueue([IncomingMessage("ehr", "m", [IncomingAttachment(data=b"photo")])])
    assert run_check("", lambda: check_unread_photos(services.sessions)).ok

    with services.sessions.begin() as session:
        session.execute(text("UPDATE attachment SET storage_faults = 1"))

    shares = run_check("", lambda: check_uri_roots(uris))
    unread = run_check("", lambda: check_unread_photos(services.sessions))
    assert (shares.ok, shares.detail) == (False, "1 of 2 roots for photos cannot be read")
    assert (unread.ok, unread.detail[:10]) == (False, "1 photo ca")


def test_root_without_a_driver_is_wrong() -> None:
    uris = UriPolicy(["gs://bucket/in"], max_bytes=1)

    assert run_check("", lambda: check_uri_roots(uris)).detail == "1 of 1 roots for photos cannot be read"


def test_every_volume_in_use_is_examined_once(
    services: WorkerServices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"photos", "models", "runs", "engines"} <= services.folders.keys()
    folders = {"photos": tmp_path, "models": tmp_path / "models"}
    assert run_check("", lambda: check_volumes(folders)).detail.startswith("photos, models: ")

    monkeypatch.setattr(Volume, "is_low", True)

    assert not run_check("", lambda: check_volumes(folders)).ok


def test_connections_are_reported_when_a_process_may_find_none_free(services: WorkerServices) -> None:
    few = run_check("", lambda: check_connections(services.sessions, 1))
    many = run_check("", lambda: check_connections(services.sessions, 49))

    assert few.ok
    assert re.fullmatch(r"[1-9]\d* of 97 in use", few.detail)  # of 100, 3 are reserved for superusers
    assert not many.ok
    assert many.detail.endswith("and a process may open 98")
    assert many.remedy.startswith("raise max_connections")
