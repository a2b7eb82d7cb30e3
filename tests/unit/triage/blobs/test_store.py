from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from triage.blobs.source import PhotoSource
from triage.blobs.store import BlobStore
from triage.blobs.uris import UriPolicy
from triage.domain.ids import AttachmentId, new_id
from triage.domain.messages import ClaimedAttachment
from triage.errors import AttachmentError, BlobStoreUnavailableError, ErrorCode
from triage.files.hashing import sha256_of

DATA = b"the bytes of a photo"


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a store behind a protocol as object stores are."""
    return str(tmp_path / "blobs") if request.param == "folder" else f"memory://{uuid4().hex}"


def test_bytes_come_back_by_their_hash(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)

    assert sha256 == sha256_of(DATA)
    assert store.put(DATA) == sha256
    assert BlobStore(url).get(sha256) == DATA
    store.check()


def test_bytes_that_changed_are_corrupt(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(b"other bytes")

    with pytest.raises(AttachmentError) as raised:
        store.get(sha256)
    assert raised.value.code is ErrorCode.CORRUPT


def test_half_written_bytes_are_written_again(url: str) -> None:
    store = BlobStore(url)
    sha256 = store.put(DATA)
    with fsspec.open(f"{url}/{sha256[:2]}/{sha256}", "wb") as file:
        file.write(DATA[:5])

    store.put(DATA)

    assert store.get(sha256) == DATA


def test_bytes_that_were_purged_are_not_found(url: str) -> None:
    with pytest.raises(AttachmentError) as raised:
        BlobStore(url).get(sha256_of(DATA))
    assert raised.value.code is ErrorCode.NOT_FOUND


def test_store_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = BlobStore(str(tmp_path / "file"))

    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.put(DATA)
    with pytest.raises(BlobStoreUnavailableError, match="permissions"):
        store.check()


def test_store_of_an_unknown_scheme_names_the_remedy() -> None:
    with pytest.raises(BlobStoreUnavailableError, match="fsspec driver"):
        BlobStore("nonsense://bucket")


def test_attachment_without_bytes_and_uri_is_not_found(tmp_path: Path) -> None:
    source = PhotoSource(BlobStore(str(tmp_path)), UriPolicy([], max_bytes=1))

    with pytest.raises(AttachmentError) as raised:
        source.fetch(ClaimedAttachment(AttachmentId(new_id()), None, None, 1))
    assert raised.value.code is ErrorCode.NOT_FOUND
