from pathlib import Path
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
from triage.files.hashing import sha256_of

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
