"""Permissions of the files and folders that the product makes, on a real file system and with real users."""

import importlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from triage.blobs.store import BlobStore
from triage.dataset.manifest import LabelledPhoto
from triage.domain.ids import new_id
from triage.files import modes
from triage.files.reach import count_out_of_reach
from triage.imaging.decode import Decoder
from triage.model.engines.mnn_model import model_file
from triage.retention.archive_file import write_lines
from triage.training.photos import load_photos
from worker.state_folder import StateFolder

AS_ROOT: Final = os.geteuid() == 0
ANONYMOUS: Final = 65534
GROUP: Final = 4321  # of no user
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can act as several users")


@pytest.fixture(autouse=True, params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def shared() -> Iterator[int]:
    """The group of the service."""
    group = GROUP if AS_ROOT else os.getegid()
    modes.share_with(group)
    yield group
    modes.share_with(None)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder that every user can reach."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    return tmp_path


def _make_everything(folder: Path) -> None:
    """Makes one of each kind of file and folder."""
    blobs = BlobStore(str(folder / "blobs"))
    blobs.put(b"photo")
    blobs.check()
    BlobStore(str(folder / "more" / "blobs")).put(b"photo")
    write_lines(folder / "archive", new_id(), ["{}"])
    _load_photo(folder)
    _cache_model(folder / "engines")


def _load_photo(folder: Path) -> None:
    file = folder.with_name("photo.png")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(file)
    file.chmod(0o600)
    photos, _ = load_photos([LabelledPhoto(file, 2)], folder / "train.photos", Decoder())
    assert len(photos) == 1


def _cache_model(folder: Path) -> None:
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    with model_file(importlib.import_module("MNN"), features, (1, 3, 8, 8), folder) as file:
        assert file.parent == folder


def _modes(folder: Path) -> dict[str, set[tuple[int, int]]]:
    """The modes and groups of all files and of all folders."""
    found: dict[str, set[tuple[int, int]]] = {"file": set(), "folder": set()}
    for path in (folder, *folder.rglob("*")):
        status = path.stat()
        found["folder" if path.is_dir() else "file"].add((stat.S_IMODE(status.st_mode), status.st_gid))
    return found


def test_only_the_user_can_use_what_is_made_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    _make_everything(folder)

    assert _modes(folder) == {"file": {(0o600, os.getegid())}, "folder": {(0o700, os.getegid())}}


def test_group_can_use_what_is_made_when_it_is_configured(tmp_path: Path, shared: int) -> None:
    folder = tmp_path / "made"
    _make_everything(folder)

    assert _modes(folder) == {"file": {(0o660, shared)}, "folder": {(0o2770, shared)}}
    state = StateFolder(folder)
    state.prepare()
    for service in (state.redis_dir, state.logs, state.socket_dir):
        assert service.stat().st_mode & 0o777 == 0o700


def _as(user: int, action: Callable[[], object], *, group: int) -> bool:
    """Whether an action of another user of the system succeeds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([group])
            os.setgid(user)
            os.setuid(user)
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


@needs_root
def test_service_reads_and_deletes_what_root_stored_when_its_group_is_configured(top: Path, shared: int) -> None:
    blobs = BlobStore(str(top / "blobs"))
    kept, purged = blobs.put(b"one photo"), blobs.put(b"another photo")

    assert _as(ANONYMOUS, lambda: blobs.get(kept), group=shared)
    assert _as(ANONYMOUS, lambda: blobs.remove(purged), group=shared)
    assert blobs.names(purged[:2]) == []
    assert not _as(ANONYMOUS, lambda: blobs.get(kept), group=ANONYMOUS)
    assert count_out_of_reach(top / "blobs") == 0


@needs_root
def test_what_root_stored_is_counted_when_the_service_cannot_use_it(top: Path) -> None:
    folder = top / "blobs"
    folder.mkdir()
    folder.chmod(0o700)
    os.chown(folder, ANONYMOUS, ANONYMOUS)
    blobs = BlobStore(str(folder))

    def store() -> str:
        return blobs.put(b"photo of the service")

    assert _as(ANONYMOUS, store, group=ANONYMOUS)
    assert count_out_of_reach(folder) == 0
    sha256 = blobs.put(b"photo of root")
    assert not _as(ANONYMOUS, lambda: blobs.get(sha256), group=ANONYMOUS)

    assert count_out_of_reach(folder) == 1
    for path in (folder / sha256[:2] / sha256, folder / sha256[:2]):
        path.chmod(0o777)
    assert count_out_of_reach(folder) == 0
    (folder / sha256[:2]).chmod(0o1777)  # in a sticky folder, only its own files
    assert count_out_of_reach(folder) == 1


@needs_root
def test_folder_behind_a_closed_one_is_counted(top: Path) -> None:
    (top / "closed" / "blobs").mkdir(parents=True)
    (top / "closed").chmod(0o700)

    def count() -> None:
        assert count_out_of_reach(top / "closed" / "blobs") == 1

    assert _as(ANONYMOUS, count, group=ANONYMOUS)


def test_nothing_is_counted_when_the_path_leads_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    file.chmod(0o777)

    assert count_out_of_reach(file) == count_out_of_reach(file / "blobs") == 0


@pytest.mark.skipif(AS_ROOT, reason="root can use every file")
def test_unreadable_file_is_counted(tmp_path: Path) -> None:
    for name, mode in (("a", 0o600), ("b", 0o000)):
        (tmp_path / name).write_bytes(b"photo")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o500)

    assert count_out_of_reach(tmp_path) == 2
    assert count_out_of_reach(tmp_path / "missing") == 0
