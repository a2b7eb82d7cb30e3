import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from uuid import UUID, uuid4

import fsspec
import pytest

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import AttachmentId, new_id
from triage.domain.messages import ClaimedAttachment
from triage.errors import (
    AttachmentError,
    BlobStoreUnavailableError,
    ErrorCode,
    Fault,
    NoStoreDriverError,
    StorageFaultError,
)
from triage.files import received
from triage.files.hashing import sha256_of
from triage.files.received import ReceivedBytes

DATA = b"the bytes of a photo"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a folder, or of a store behind a protocol, as object stores are."""
    return str(tmp_path / "blobs") if request.param == "folder" else f"memory://{uuid4().hex}"


def test_bytes_are_returned_by_their_hash(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)

    assert sha256 == sha256_of(DATA)
    assert store.put(DATA) == sha256
    assert BlobStore(url).get(sha256) == DATA
    store.check()


def test_changed_bytes_are_corrupt(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(b"other bytes")

    with pytest.raises(AttachmentError) as raised:
        store.get(sha256)
    assert raised.value.code is ErrorCode.CORRUPT


def test_incomplete_bytes_are_written_again(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(DATA[:5])

    store.put(DATA)

    assert store.get(sha256) == DATA


def test_missing_bytes_are_a_storage_fault(url: str) -> None:
    with pytest.raises(StorageFaultError):
        BlobStore(url).get(sha256_of(DATA))


def test_marker_is_returned_as_written(url: str) -> None:
    store, id_ = BlobStore(url), uuid4()
    assert store.marker() is None

    store.mark(id_)

    assert BlobStore(url).marker() == id_


def test_malformed_marker_equals_no_id(tmp_path: Path) -> None:
    (tmp_path / "triage-store-id").write_bytes(b"\xff")

    assert BlobStore(str(tmp_path)).marker() == UUID(int=0)


def test_check_creates_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BlobStoreUnavailableError, match="does not exist: mount it"):
        BlobStore(str(tmp_path / "blobs")).check()
    assert not (tmp_path / "blobs").exists()


def test_store_is_unavailable_when_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = BlobStore(str(tmp_path / "file"))

    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.put(DATA)
    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.check()


def test_error_names_the_drivers_when_the_scheme_is_unknown() -> None:
    with pytest.raises(NoStoreDriverError, match="extra `s3`") as raised:
        BlobStore("nonsense://bucket")
    assert raised.value.kind is Fault.SETTING


def test_attachment_is_not_found_when_it_has_neither_bytes_nor_a_uri(tmp_path: Path) -> None:
    source = PhotoSource(BlobStore(str(tmp_path)), UriPolicy([], max_bytes=1))

    with pytest.raises(AttachmentError) as raised:
        source.fetch(ClaimedAttachment(AttachmentId(new_id()), None, None))
    assert raised.value.code is ErrorCode.NOT_FOUND


def _without_a_name(folder: Path | None) -> IO[bytes]:
    return TemporaryFile(dir=folder)  # its user closes it


def receive(store: BlobStore, *pieces: bytes, keep: int = 2**20) -> ReceivedBytes:
    photo = store.receive(keep=keep)
    for piece in pieces:
        photo.write(piece)
    return photo


def test_bytes_that_arrive_in_pieces_are_stored_and_can_be_stored_again(url: str) -> None:
    store = BlobStore(url)
    store.put(b"the store exists")
    with receive(store, DATA[:7], DATA[7:]) as photo:
        assert (photo.sha256, photo.size, photo.head) == (sha256_of(DATA), len(DATA), DATA)

        sha256 = store.put(photo)
        assert store.get(sha256) == DATA
        store.remove(sha256)  # by a purge, before the row of the photo was locked
        assert store.put(photo) == sha256

    assert store.get(sha256) == DATA


def test_bytes_beyond_the_limit_are_counted_and_not_kept(url: str) -> None:
    store = BlobStore(url)
    store.put(b"the store exists")
    with receive(store, DATA, DATA, keep=len(DATA)) as photo:
        assert (photo.sha256, photo.size) == (sha256_of(DATA * 2), 2 * len(DATA))
        photo.file.seek(0)
        assert photo.file.read() == DATA


def test_folder_holds_nothing_of_bytes_that_were_received_and_not_stored(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path))
    with receive(store, DATA):
        assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("missing", ["link", "nameless file"])
def test_bytes_are_copied_where_a_nameless_file_cannot_get_a_name(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("not supported")

    if missing == "link":
        monkeypatch.setattr(os, "link", fail)
    else:  # Python's own temporary file refuses a link
        monkeypatch.setattr(received, "_nameless_file", _without_a_name)
    store = BlobStore(str(tmp_path))
    with receive(store, DATA) as photo:
        sha256 = store.put(photo)

    assert store.get(sha256) == DATA
    [path] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert (path.name, path.stat().st_mode & 0o777, path.stat().st_nlink) == (sha256, 0o600, 1)


def test_stored_bytes_are_the_received_file_itself(tmp_path: Path) -> None:
    """Its bytes are written to the disk once."""
    store = BlobStore(str(tmp_path))
    with receive(store, DATA) as photo:
        sha256 = store.put(photo)
        assert (tmp_path / sha256[:2] / sha256).stat().st_ino == Path(
            f"/proc/self/fd/{photo.file.fileno()}"
        ).stat().st_ino
